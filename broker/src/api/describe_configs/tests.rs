use highwater_proto::metadata::NodeState;

use super::super::test_image::{LISTENER, TestImage};
use super::*;

fn ask(kind: i8, name: &str, keys: Option<&[&str]>, synonyms: bool) -> DescribeConfigsResult {
    let image = TestImage::new()
        .broker(1, NodeState::Active, &[LISTENER])
        .topic("t", 1, &[(Some(1), &[1])])
        .config(ConfigResource::ClusterDefault, "log.segment.bytes", "2000000")
        .config(ConfigResource::Broker(NodeId(1)), "log.retention.ms", "5000")
        .build();
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: ByteStr::from(name),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| ByteStr::from(*key)).collect()),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: synonyms,
        include_documentation: synonyms,
        ..Default::default()
    };
    describe(&image, NodeId(1), &StaticValues::default(), &request)
        .results
        .remove(0)
}

fn code(kind: i8, name: &str) -> i16 {
    ask(kind, name, None, false).error_code
}

/// What Apache Kafka 4.4 lists for a topic.
const KAFKAS: [&str; 37] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "errors.deadletterqueue.group.enable",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.decompressed.message.bytes",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

#[test]
fn every_topic_config_of_kafka_is_there_in_order_with_type_and_documentation() {
    let all = ask(TOPIC, "t", None, false).configs;
    let (own, kafkas): (Vec<&str>, Vec<&str>) = all.iter().map(|c| &*c.name).partition(|name| !KAFKAS.contains(name));
    assert_eq!(kafkas, KAFKAS);
    assert_eq!(own, ["write.caching"]);
    assert_eq!(
        ask(TOPIC, "t", Some(&[]), false).configs.len(),
        all.len(),
        "no keys are all keys"
    );
    for config in ask(TOPIC, "t", None, true).configs {
        assert!((1..=9).contains(&config.config_type), "{config:?}");
        assert!(
            config.documentation.is_some_and(|text| text.len() > 20),
            "{}",
            config.name
        );
    }
}

#[test]
fn rule_169_values_name_where_they_come_from() {
    let keys = ["retention.ms", "segment.bytes", "max.message.bytes", "nonsense"];
    let answer = ask(TOPIC, "t", Some(&keys), true);
    let row = |c: &DescribeConfigsResourceResult| {
        (
            c.name.to_string(),
            c.value.as_deref().map(str::to_owned),
            c.config_source,
        )
    };
    let rows: Vec<_> = answer.configs.iter().map(row).collect();
    let expected = [
        ("max.message.bytes", "1048588", 5),
        ("retention.ms", "1000", 1),
        ("segment.bytes", "2000000", 3),
    ];
    assert_eq!(
        rows,
        expected.map(|(name, value, source)| (name.to_owned(), Some(value.to_owned()), source))
    );
    let retention = &answer.configs[1];
    let synonyms: Vec<_> = retention.synonyms.iter().map(|s| (&*s.name, s.source)).collect();
    assert_eq!(
        synonyms,
        [("retention.ms", 1), ("log.retention.ms", 2), ("log.retention.hours", 5)]
    );
    assert!(!retention.read_only && retention.documentation.is_some());
    assert_eq!(retention.config_type, 5, "LONG");
    let plain = ask(TOPIC, "t", Some(&keys), false);
    assert!(plain.configs[1].synonyms.is_empty() && plain.configs[1].documentation.is_none());
}

#[test]
fn rule_106_resources_that_cannot_be_described() {
    assert_eq!(
        [code(TOPIC, "x"), code(TOPIC, "bad name"), code(TOPIC, "")],
        [3, 17, 17]
    );
    assert_eq!([code(BROKER, "1"), code(BROKER, "2"), code(BROKER, "one")], [0, 42, 42]);
    assert_eq!([code(1, "x"), code(16, "x")], [42, 42]);
}

#[test]
fn rule_169_a_type_that_does_not_exist_spoils_the_whole_request() {
    let codes = |kind| {
        let resource = |resource_type, name: &str| DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource(BROKER, "1"), resource(kind, "x")],
            ..Default::default()
        };
        let response = describe(&MetadataImage::default(), NodeId(1), &StaticValues::default(), &request);
        let codes = response.results.iter().map(|result| result.error_code);
        codes.collect::<Vec<_>>()
    };
    assert_eq!(codes(1), [42, 42]);
    assert_eq!(codes(16), [0, 42], "one that exists does not");
}

#[test]
fn a_broker_shows_all_and_the_default_broker_only_what_is_set() {
    let own = ask(
        BROKER,
        "1",
        Some(&["log.segment.bytes", "log.retention.ms", "node.id"]),
        false,
    );
    let rows: Vec<_> = own
        .configs
        .iter()
        .map(|c| (c.name.to_string(), c.config_source, c.read_only))
        .collect();
    assert!(rows.contains(&("log.segment.bytes".to_owned(), 3, false)), "{rows:?}");
    assert!(rows.contains(&("log.retention.ms".to_owned(), 2, false)), "{rows:?}");
    assert!(
        rows.iter().any(|(name, _, read_only)| name == "node.id" && *read_only),
        "{rows:?}"
    );
    let default = ask(BROKER, "", None, false);
    let names: Vec<_> = default.configs.iter().map(|c| c.name.to_string()).collect();
    assert_eq!((default.error_code, names), (0, vec!["log.segment.bytes".to_owned()]));
}

#[test]
fn a_broker_knows_its_id_even_if_it_was_not_set() {
    let configs = ask(BROKER, "1", Some(&["node.id", "broker.id"]), true).configs;
    for config in &configs {
        assert_eq!(
            (config.value.as_deref(), config.config_source),
            (Some("1"), 4),
            "{}",
            &*config.name
        );
    }
    assert_eq!(configs.len(), 2);
}

#[test]
fn a_resource_that_is_named_twice_is_described_once() {
    let image = TestImage::new().topic("t", 1, &[(Some(1), &[1])]).build();
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource; 1_000],
        ..Default::default()
    };
    assert_eq!(
        describe(&image, NodeId(1), &StaticValues::default(), &request)
            .results
            .len(),
        1
    );
}

#[test]
fn the_name_of_one_resource_does_not_fill_the_answer_for_all() {
    let resource = |resource_type, name: String| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        ..Default::default()
    };
    let topics = (0..1_000).map(|index| resource(TOPIC, format!("t{index}")));
    let unknown = resource(99, "x".repeat(30_000));
    let request = DescribeConfigsRequest {
        resources: [unknown].into_iter().chain(topics).collect(),
        ..Default::default()
    };
    let image = TestImage::new().broker(1, NodeState::Active, &[LISTENER]).build();
    let answer = describe(&image, NodeId(1), &StaticValues::default(), &request);
    assert!(answer.results.iter().all(|it| it.error_code == 42), "rule 169");
    let lengths = answer
        .results
        .iter()
        .map(|it| it.error_message.as_deref().unwrap_or_default().len());
    assert!(lengths.max().is_some_and(|longest| longest < 400));
}
