//! Partitions that move, leaders that are elected, brokers that are forgotten: what one broker can say of it.

use crate::table::{Row, Table};
use highwater_e2e::raw::topic_name;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::*;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(crate) const REASSIGNMENTS: &[Row] = &[
    ("AlterPartitionReassignments: to where it is", "0", |t| {
        let (topic, broker) = place(t, "stay");
        reassign(t, &topic, 0, Some(vec![broker]))
    }),
    ("AlterPartitionReassignments: to an unknown broker", "39", |t| {
        let (topic, broker) = place(t, "unknown");
        reassign(t, &topic, 0, Some(vec![broker, 4711.into()]))
    }),
    ("AlterPartitionReassignments: to a broker twice", "39", |t| {
        let (topic, broker) = place(t, "twice-there");
        reassign(t, &topic, 0, Some(vec![broker, broker]))
    }),
    ("AlterPartitionReassignments: to nobody", "39", |t| {
        let (topic, _) = place(t, "nobody");
        reassign(t, &topic, 0, Some(vec![]))
    }),
    ("AlterPartitionReassignments: a cancel of nothing", "85", |t| {
        let (topic, _) = place(t, "cancel");
        reassign(t, &topic, 0, None)
    }),
    ("AlterPartitionReassignments: an unknown partition", "3", |t| {
        let (topic, broker) = place(t, "partition");
        reassign(t, &topic, 7, Some(vec![broker]))
    }),
    ("AlterPartitionReassignments: an unknown topic", "3", |t| {
        reassign(t, "nowhere", 0, None)
    }),
    (
        "ListPartitionReassignments: unknown and idle topics",
        "0, 0 topics",
        |t| {
            let (topic, _) = place(t, "idle");
            let named = |name: &str| {
                ListPartitionReassignmentsTopics::default()
                    .with_name(topic_name(name))
                    .with_partition_indexes(vec![0, 9])
            };
            let request =
                ListPartitionReassignmentsRequest::default().with_topics(Some(vec![named(&topic), named("nowhere")]));
            let answer = t.raw.call(0, &request).unwrap();
            format!("{}, {} topics", answer.error_code, answer.topics.len())
        },
    ),
    ("ElectLeaders: the preferred leader leads", "0: 84", |t| {
        let (topic, _) = place(t, "preferred");
        elect(t, PREFERRED, &topic, 0)
    }),
    ("ElectLeaders: unclean, though somebody leads", "0: 84", |t| {
        let (topic, _) = place(t, "unclean");
        elect(t, UNCLEAN, &topic, 0)
    }),
    ("ElectLeaders: unknown partition and topic", "0: 3, 0: 3", |t| {
        let (topic, _) = place(t, "elect");
        format!(
            "{}, {}",
            elect(t, PREFERRED, &topic, 7),
            elect(t, PREFERRED, "nowhere", 0)
        )
    }),
    ("ElectLeaders: of a kind that does not exist", "42: 42", |t| {
        let (topic, _) = place(t, "kind");
        elect(t, 2, &topic, 0)
    }),
    (
        "ElectLeaders: everywhere, and all is well",
        "0, rows of partitions: []",
        |t| {
            let request = ElectLeadersRequest::default()
                .with_election_type(PREFERRED)
                .with_topic_partitions(None)
                .with_timeout_ms(10_000);
            let answer = t.raw.call(2, &request).unwrap();
            let rows = answer.replica_election_results.iter();
            let rows: Vec<i16> = rows
                .flat_map(|topic| topic.partition_result.iter().map(|row| row.error_code))
                .collect();
            format!("{}, rows of partitions: {rows:?}", answer.error_code)
        },
    ),
    ("UnregisterBroker: an unknown one", "102", |t| {
        let request = UnregisterBrokerRequest::default().with_broker_id(4711.into());
        t.raw.call(0, &request).unwrap().error_code.to_string()
    }),
];

/// A topic of one partition, and the broker that has it.
fn place(t: &mut Table, name: &str) -> (String, BrokerId) {
    let topic = t.topic(&format!("move-{name}"), &[]);
    let metadata = t.raw.metadata(&topic).unwrap();
    let broker = metadata.topics[0].partitions[0].replica_nodes[0];
    (topic, broker)
}

fn reassign(t: &mut Table, topic: &str, partition: i32, replicas: Option<Vec<BrokerId>>) -> String {
    let partition = ReassignablePartition::default()
        .with_partition_index(partition)
        .with_replicas(replicas);
    let topic = ReassignableTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let answer = t.raw.call(0, &request).unwrap();
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.responses[0].partitions[0].error_code.to_string()
}

fn elect(t: &mut Table, election: i8, topic: &str, partition: i32) -> String {
    let named = TopicPartitions::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ElectLeadersRequest::default()
        .with_election_type(election)
        .with_topic_partitions(Some(vec![named]))
        .with_timeout_ms(10_000);
    let answer = t.raw.call(2, &request).unwrap();
    let row = &answer.replica_election_results[0].partition_result[0];
    format!("{}: {}", answer.error_code, row.error_code)
}
