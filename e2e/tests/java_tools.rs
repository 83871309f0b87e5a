//! Apache Kafka's own tools and AdminClient, as an administrator uses them.

#![recursion_limit = "256"]

use highwater_e2e::broker::Broker;
use highwater_e2e::client::Driver;
use highwater_e2e::raw::Raw;
use highwater_e2e::scenario::BROKER_SETTINGS;
use highwater_e2e::setup;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// Runs a tool to its end and returns its stdout.
fn tool(class: &str, bootstrap: &str, args: &str, input: &str) -> String {
    let mut command = setup::java(class);
    command
        .args(["--bootstrap-server", bootstrap])
        .args(args.split_whitespace());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("java starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes())
        .expect("the tool reads");
    let output = child.wait_with_output().expect("a child of ours");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{class} {args}: {}\n{out}\n{err}",
        output.status
    );
    assert!(
        !out.contains("ERROR") && !err.contains("ERROR"),
        "{class} {args}:\n{out}\n{err}"
    );
    out.into_owned()
}

#[test]
fn console_tools_work() {
    let broker = Broker::start(&BROKER_SETTINGS);
    let boot = broker.bootstrap();
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let (topic, group) = (format!("console-{id}"), format!("readers-{id}"));

    let created = tool(
        TOPICS,
        &boot,
        &format!("--create --topic {topic} --partitions 3 --config retention.ms=86400000"),
        "",
    );
    assert!(created.contains("Created topic"), "{created}");
    let described = tool(TOPICS, &boot, &format!("--describe --topic {topic}"), "");
    assert!(
        described.contains("PartitionCount: 3") && described.contains("retention.ms=86400000"),
        "{described}"
    );

    let lines: String = (0..100).map(|i| format!("k{}:v{i:03}\n", i % 5)).collect();
    tool(
        PRODUCER,
        &boot,
        &format!("--topic {topic} --reader-property parse.key=true --reader-property key.separator=:"),
        &lines,
    );
    let read = "--from-beginning --timeout-ms 20000 --formatter-property print.key=true --formatter-property print.partition=true";
    let consumed = tool(
        CONSUMER,
        &boot,
        &format!("--topic {topic} --group {group} --max-messages 100 {read}"),
        "",
    );
    let mut values: Vec<&str> = consumed.lines().filter_map(|l| l.split('\t').nth(2)).collect();
    values.sort_unstable();
    assert_eq!(values, (0..100).map(|i| format!("v{i:03}")).collect::<Vec<_>>());
    for key in ["k0", "k1", "k2", "k3", "k4"] {
        let lines: Vec<Vec<&str>> = consumed
            .lines()
            .map(|l| l.split('\t').collect::<Vec<_>>())
            .filter(|l| l[1] == key)
            .collect();
        assert!(
            lines.iter().all(|l| l[0] == lines[0][0]),
            "{key} stays in one partition"
        );
        assert!(lines.is_sorted_by_key(|l| l[2]), "{key} keeps its order");
    }

    let lag = tool(GROUPS, &boot, &format!("--describe --group {group}"), "");
    let lags: Vec<&str> = lag
        .lines()
        .filter(|l| l.contains(&topic))
        .filter_map(|l| l.split_whitespace().nth(5))
        .collect();
    assert!(!lags.is_empty() && lags.iter().all(|l| *l == "0"), "{lag}");
    assert!(tool(GROUPS, &boot, "--list", "").lines().any(|l| l == group));
    tool(
        GROUPS,
        &boot,
        &format!("--group {group} --topic {topic} --reset-offsets --to-earliest --execute"),
        "",
    );
    let again = tool(
        CONSUMER,
        &boot,
        &format!("--topic {topic} --group {group} --max-messages 100 {read}"),
        "",
    );
    assert_eq!(again.lines().count(), 100, "after a reset the group reads all again");
    let state = tool(GROUPS, &boot, &format!("--describe --group {group} --state"), "");
    assert!(state.contains("Empty"), "{state}");
    tool(GROUPS, &boot, &format!("--delete --group {group}"), "");
    assert!(!tool(GROUPS, &boot, "--list", "").lines().any(|l| l == group));

    tool(
        CONFIGS,
        &boot,
        &format!("--alter --topic {topic} --add-config max.message.bytes=2000000"),
        "",
    );
    let configs = tool(CONFIGS, &boot, &format!("--describe --topic {topic}"), "");
    assert!(configs.contains("max.message.bytes=2000000"), "{configs}");
    tool(TOPICS, &boot, &format!("--delete --topic {topic}"), "");
    assert!(!tool(TOPICS, &boot, "--list", "").lines().any(|l| l == topic));
}

#[test]
fn admin_client_works() {
    let broker = Broker::start(&BROKER_SETTINGS);
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let mut raw = broker.routed();
    // A topic and a record, so that the first answers are not those of a broker that still starts.
    raw.create(&format!("first-{id}"), 1, &[]).expect("create");
    raw.produce(&format!("first-{id}"), 0, "v").expect("produce");
    let nodes = raw.any(Raw::brokers).expect("an answer");
    let mut driver = Driver::java(&broker.bootstrap());
    let seen = driver.call(&json!({"do": "admin", "topic": format!("admin-{id}"), "group": format!("admin-{id}")}));
    let expected = json!({
        "nodes": nodes, "cluster_id_length": 22, "controller_is_a_node": true,
        "create": "none", "create_again": "TopicExistsException", "create_bad_name": "InvalidTopicException",
        "create_rf_9": "InvalidReplicationFactorException", "create_bad_config": "InvalidConfigurationException",
        "listed": true, "grow": "none", "shrink": "InvalidPartitionsException", "partitions": 4,
        "described_by_id": true, "describe_unknown": "UnknownTopicOrPartitionException", "log_dirs_with_topic": true,
        "retention_at_create": "7200000", "source_of_retention": "DYNAMIC_TOPIC_CONFIG",
        "source_of_default": "DEFAULT_CONFIG", "type_of_retention": "LONG", "documented": true,
        "set": "none", "segment_ms": "3600000", "set_bad": "InvalidConfigurationException",
        "set_unknown": "InvalidConfigurationException", "delete_config": "none", "segment_ms_after": "604800000",
        "set_on_unknown_topic": "UnknownTopicOrPartitionException", "node_id_is_described": true,
        "earliest": 0, "latest": 10, "at_time_0": 0, "at_the_end_of_time": -1,
        "delete_records": "none", "earliest_after": 4, "delete_records_beyond": "OffsetOutOfRangeException",
        "commit_by_admin": "none", "committed": 3, "committed_metadata": "three", "group_listed": true,
        "group_state": "EMPTY", "describe_unknown_group": "GroupIdNotFoundException", "delete_offset": "none",
        "offset_after_delete": false, "delete_group": "none", "delete_unknown_group": "GroupIdNotFoundException",
        "delete": "none", "delete_unknown": "UnknownTopicOrPartitionException", "gone": true,
    });
    let mut wrong = Vec::new();
    for (case, value) in expected.as_object().expect("an object") {
        let answered = seen.get(case).unwrap_or(&Value::Null);
        if answered != value {
            wrong.push(format!("{case}: {answered}, Apache Kafka: {value}"));
        }
    }
    // Ten records of one batch or of several: the one with the highest time is among them.
    assert!((0..10).contains(&seen["max_timestamp"].as_i64().expect("an offset")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
