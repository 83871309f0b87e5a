//! The configs of topics beside Apache Kafka's own list of them: `topic-configs.tsv` has name, type, default, allowed
//! values and importance of each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use highwater_proto::config::{
    Allowed, BrokerLayers, ConfigSource, Definition, StaticValues, Values, describe_topic, topic_definition,
    topic_definitions,
};

const LIST: &str = include_str!("topic-configs.tsv");
/// What topics have here besides: ours, and what came to Kafka after the list.
const NOT_LISTED: [&str; 5] = [
    "errors.deadletterqueue.group.enable",
    "max.decompressed.message.bytes",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
    "write.caching",
];

/// The rows, without those that Kafka shows nobody.
fn rows() -> Vec<[&'static str; 5]> {
    let fields = |line: &'static str| -> [&str; 5] { line.split('\t').collect::<Vec<_>>().try_into().unwrap() };
    LIST.lines()
        .map(fields)
        .filter(|row| !row[0].starts_with("internal."))
        .collect()
}

/// As Kafka writes lists.
fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

/// As the list writes what is allowed.
fn allowed(definition: &Definition) -> String {
    match definition.allowed {
        Allowed::Any => String::new(),
        Allowed::AtLeast(low) => format!("[{low},...]"),
        Allowed::Between(low, high) => format!("[{low},...,{high}]"),
        Allowed::BetweenOr(low, high, other) => format!("[{low},...,{high}] or {other}"),
        Allowed::OneOf(words) | Allowed::ListOf(words) => format!("[{}]", words.join(", ")),
        Allowed::ThrottledReplicas => "[partitionId]:[brokerId],[partitionId]:[brokerId],...".to_owned(),
        other => panic!("{} is not listed with {other}", definition.name),
    }
}

#[test]
fn topics_have_the_configs_that_kafka_lists_and_no_others() {
    let listed: BTreeSet<&str> = rows().iter().map(|row| row[0]).chain(NOT_LISTED).collect();
    let ours: BTreeSet<&str> = topic_definitions().map(|definition| definition.name).collect();
    assert_eq!(ours, listed);
    assert_eq!(rows().len(), 33);
}

#[test]
fn each_has_kafkas_type_default_bounds_and_importance() {
    for [name, kind, default, bounds, importance] in rows() {
        let definition = topic_definition(name).unwrap();
        assert_eq!(definition.kind.name(), kind, "{name}");
        assert_eq!(definition.default, Some(unbracketed(default)), "{name}");
        assert_eq!(allowed(definition), bounds, "{name}");
        assert_eq!(
            format!("{:?}", definition.importance).to_uppercase(),
            importance,
            "{name}"
        );
    }
}

#[test]
fn a_topic_without_configs_of_its_own_is_described_with_kafkas_defaults() {
    let fixed = StaticValues::default();
    let described = describe_topic(&Values::new(), &BrokerLayers::fixed(&fixed));
    assert_eq!(described.len(), rows().len() + NOT_LISTED.len());
    for [name, kind, default, ..] in rows() {
        let config = described.iter().find(|config| config.name == name).unwrap();
        assert_eq!(config.value.as_deref(), Some(unbracketed(default)), "{name}");
        assert_eq!(config.kind.name(), kind, "{name}");
        assert_eq!(config.source, ConfigSource::Default, "{name}");
        assert!(!config.read_only && !config.sensitive, "{name}");
        assert!(!config.documentation.is_empty(), "{name}");
    }
}
