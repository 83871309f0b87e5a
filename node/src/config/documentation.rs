//! The reference of all configs, as `docs/configuration.md` has it.

use std::fmt::Write as _;

use highwater_proto::config::{
    Allowed, Definition, Profile, Support, Update, broker_definitions, is_topic_default, topic_definitions,
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

/// Renders the whole page.
#[must_use]
pub fn render_documentation() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Topics\n\nSet for one topic, when it is created or later. Where a topic sets none, the broker config holds.\n\n");
    page.push_str("| topic config | default | allowed | broker config | what it does |\n|---|---|---|---|---|\n");
    for definition in topic_definitions().filter(|definition| definition.support == Support::Implemented) {
        let synonyms: Vec<String> = topic_synonyms(definition.name)
            .iter()
            .map(|synonym| format!("`{}`", synonym.key))
            .collect();
        let columns = [
            code(definition.name),
            default(definition, None),
            allowed(definition),
            synonyms.join(", "),
            definition.documentation.to_owned(),
        ];
        row(&mut page, &columns);
    }
    page.push_str("\n## Processes\n\n");
    page.push_str("The default is that of `highwater`; where a cluster's differs, it stands behind the slash. \"While running\" says \
whether the protocol can change the value without a restart.\n\n");
    page.push_str("| config | default | allowed | while running | what it does |\n|---|---|---|---|---|\n");
    for definition in broker_definitions().filter(|definition| definition.support == Support::Implemented) {
        let columns = [
            code(definition.name),
            default(definition, Some([Profile::Standalone, Profile::Cluster])),
            allowed(definition),
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
    let yes = definition.update == Update::ClusterWide && is_topic_default(definition.name);
    if yes { "yes" } else { "no" }
}
