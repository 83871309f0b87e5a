//! The reference of all configs, as `docs/configuration.md` has it.

use std::fmt::Write as _;

use highwater_proto::config::{
    Allowed, Definition, Profile, Support, broker_definition, broker_definitions, is_read_again, topic_definitions,
    topic_synonyms,
};

const INTRODUCTION: &str = "\
# Configuration

Highwater takes Apache Kafka's configs by their names. A process reads, the strongest first:

1. flags: `--set key=value`, as often as needed;
2. environment variables: `HIGHWATER_` and the key in upper case with `_` for `.`, so `HIGHWATER_NUM_PARTITIONS=3`;
3. the file named by `--config`, a Java properties file. A `server.properties` of Apache Kafka works.

A key that is not on this page is refused at start, and so is a value that is not allowed: the message names the key, \
the value and what is allowed. Variables that Kubernetes derives from services (`HIGHWATER_..._SERVICE_HOST` and the \
like) are left aside.

What is accepted is obeyed. A config that is not implemented accepts only its default. The one exception are the keys \
under [Without effect](#without-effect), which stand in Apache Kafka's own `server.properties` or size its threads.

This page is generated from the tables in `proto/src/config`; a test keeps it current.
";

/// Renders the whole page. `obeyed_by` says of a config of the processes which of them take it in.
#[must_use]
pub fn render_documentation(obeyed_by: impl Fn(&str) -> String) -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Topics\n\nSet for one topic, when it is created or later. Where a topic sets none, the broker config holds: \
that of the processes which obey it, with its default. Where a cluster's default differs from that of `highwater`, it stands behind the slash.\n\n");
    page.push_str("| topic config | default | allowed | broker config | what it does |\n|---|---|---|---|---|\n");
    for definition in topic_definitions().filter(|definition| definition.support == Support::Implemented) {
        let synonyms: Vec<String> = topic_synonyms(definition.name)
            .iter()
            .map(|synonym| format!("`{}`", synonym.key))
            .collect();
        let columns = [
            code(definition.name),
            default_of_topics(definition),
            allowed(definition),
            synonyms.join(", "),
            definition.documentation.to_owned(),
        ];
        row(&mut page, &columns);
    }
    page.push_str("\n## Processes\n\n");
    page.push_str("The default is that of `highwater`; where a cluster's differs, it stands behind the slash. \"Obeyed by\" names the \
processes that the value has to be given to: `highwater-broker`, `highwater-controller`, `highwater-coordinator`, or all three. A value that several of them \
obey has to be the same in all. `highwater` obeys every key but those that say so. A key that a process does not obey does no harm \
there: all processes of a cluster can be started with one file. \"While running\" says whether the protocol can change the value without a restart.\n\n");
    page.push_str(
        "| config | default | allowed | obeyed by | while running | what it does |\n|---|---|---|---|---|---|\n",
    );
    for definition in broker_definitions().filter(|definition| definition.support == Support::Implemented) {
        let columns = [
            code(definition.name),
            default(definition, Some([Profile::Standalone, Profile::Cluster])),
            allowed(definition),
            obeyed_by(definition.name),
            while_running(definition).to_owned(),
            definition.documentation.to_owned(),
        ];
        row(&mut page, &columns);
    }
    unsupported(
        &mut page,
        "Only the default",
        "Configs of Apache Kafka that are not implemented.",
        |support| match support {
            Support::DefaultOnly(reason) => Some(reason),
            Support::Implemented | Support::Ignored(_) => None,
        },
    );
    unsupported(
        &mut page,
        "Without effect",
        "Accepted at start with any valid value and noted in the log; what they configure does not exist here.",
        |support| match support {
            Support::Ignored(reason) => Some(reason),
            Support::Implemented | Support::DefaultOnly(_) => None,
        },
    );
    page
}

fn unsupported(page: &mut String, title: &str, text: &str, reason: impl Fn(Support) -> Option<&'static str>) {
    let _ = write!(
        page,
        "\n## {title}\n\n{text}\n\n| config | of | default | why | what it does in Apache Kafka |\n|---|---|---|---|---|\n"
    );
    let topics = topic_definitions().map(|definition| ("topics", definition));
    let processes = broker_definitions().map(|definition| ("processes", definition));
    for (of, definition) in topics.chain(processes) {
        if let Some(reason) = reason(definition.support) {
            let columns = [
                code(definition.name),
                of.to_owned(),
                default(definition, None),
                reason.to_owned(),
                definition.documentation.to_owned(),
            ];
            row(page, &columns);
        }
    }
}

fn row(page: &mut String, columns: &[String]) {
    let _ = writeln!(page, "| {} |", columns.join(" | "));
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// What holds where neither the topic nor anybody else has set anything: the default of the broker config.
fn default_of_topics(definition: &Definition) -> String {
    let synonym = topic_synonyms(definition.name)
        .iter()
        .find(|synonym| synonym.scale == 1);
    match synonym.and_then(|synonym| broker_definition(synonym.key)) {
        Some(synonym) if Profile::Standalone.default_of(synonym) != Profile::Cluster.default_of(synonym) => {
            default(synonym, Some([Profile::Standalone, Profile::Cluster]))
        }
        _ => default(definition, None),
    }
}

fn default(definition: &Definition, profiles: Option<[Profile; 2]>) -> String {
    let shown = |default: Option<&str>| match default {
        None => "not set".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => code(text),
    };
    let Some([standalone, cluster]) = profiles else {
        return shown(definition.default);
    };
    let (standalone, cluster) = (
        shown(standalone.default_of(definition)),
        shown(cluster.default_of(definition)),
    );
    if standalone == cluster {
        standalone
    } else {
        format!("{standalone} / {cluster}")
    }
}

fn allowed(definition: &Definition) -> String {
    match definition.allowed {
        Allowed::Any => definition.kind.name().to_ascii_lowercase(),
        bounds => format!("{}, {bounds}", definition.kind.name().to_ascii_lowercase()),
    }
}

fn while_running(definition: &Definition) -> &'static str {
    if is_read_again(definition) { "yes" } else { "no" }
}
