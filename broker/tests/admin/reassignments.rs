//! AlterPartitionReassignments, ListPartitionReassignments, ElectLeaders, UnregisterBroker.

use highwater_proto::kafka::messages::alter_partition_reassignments::request::{
    ReassignablePartition, ReassignableTopic,
};
use highwater_proto::kafka::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use highwater_proto::kafka::messages::elect_leaders::request::TopicPartitions;
use highwater_proto::kafka::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
use highwater_proto::kafka::messages::list_partition_reassignments::request::ListPartitionReassignmentsTopics;
use highwater_proto::kafka::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use highwater_proto::kafka::messages::unregister_broker::UnregisterBrokerRequest;

use crate::cluster::Cluster;

fn reassign(name: &str, partitions: &[(i32, Option<&[i32]>)]) -> AlterPartitionReassignmentsRequest {
    let partition = |(index, replicas): &(i32, Option<&[i32]>)| ReassignablePartition {
        partition_index: *index,
        replicas: replicas.map(<[i32]>::to_vec),
        ..Default::default()
    };
    let topic = ReassignableTopic {
        name: name.into(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    AlterPartitionReassignmentsRequest {
        timeout_ms: 5_000,
        topics: vec![topic],
        ..Default::default()
    }
}

fn codes(answer: &AlterPartitionReassignmentsResponse) -> Vec<(i32, i16, Option<&str>)> {
    let rows = answer.responses.iter().flat_map(|topic| &topic.partitions);
    rows.map(|row| (row.partition_index, row.error_code, row.error_message.as_deref()))
        .collect()
}

/// Topic, partition, and its lists of replicas: all, those that join, those that leave.
type Ongoing<'a> = (&'a str, i32, [&'a [i32]; 3]);

fn listed(answer: &ListPartitionReassignmentsResponse) -> Vec<Ongoing<'_>> {
    let mut rows = Vec::new();
    for topic in &answer.topics {
        for row in &topic.partitions {
            let (all, adding, removing) = (&row.replicas, &row.adding_replicas, &row.removing_replicas);
            rows.push((
                &*topic.name,
                row.partition_index,
                [&all[..], &adding[..], &removing[..]],
            ));
        }
    }
    rows
}

#[tokio::test]
async fn rule_107_what_is_altered_is_listed_when_the_answer_is_there() {
    let cluster = Cluster::start().await;
    cluster.create("a", 3, &[]).await;
    let mut client = cluster.connect().await;
    let answer = client
        .call(1, &reassign("a", &[(1, Some(&[7, 8])), (2, None), (9, Some(&[7]))]))
        .await;
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, None));
    assert_eq!(
        codes(&answer),
        [
            (1, 0, None),
            (2, 85, Some("because of 85")),
            (9, 3, Some("because of 3"))
        ]
    );
    let all = client.call(0, &ListPartitionReassignmentsRequest::default()).await;
    assert_eq!(all.error_message, None);
    assert_eq!(listed(&all), [("a", 1, [&[7, 8, 0][..], &[7, 8], &[0]])]);
    let mut named = async |name: &str, partition_indexes: &[i32]| {
        let topic = ListPartitionReassignmentsTopics {
            name: name.into(),
            partition_indexes: partition_indexes.to_vec(),
            ..Default::default()
        };
        let request = ListPartitionReassignmentsRequest {
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let answer = client.call(0, &request).await;
        assert_eq!(answer.error_code, 0);
        answer.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>()
    };
    assert_eq!(named("a", &[0, 1, 9, -1]).await, 1);
    assert_eq!(named("a", &[1, 1, 1]).await, 1, "once, however often it is named");
    assert_eq!(named("a", &[0, 2]).await, 0, "nothing is on its way there");
    assert_eq!(named("x", &[0]).await, 0, "unknown topics are left out");
}

#[tokio::test]
async fn the_number_of_replicas_may_change_unless_a_client_of_version_1_forbids_it() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    let mut request = reassign("a", &[(0, Some(&[1]))]);
    request.allow_replication_factor_change = false;
    assert!(!client.call(1, &request).await.allow_replication_factor_change);
    request.allow_replication_factor_change = true;
    assert_eq!(codes(&client.call(0, &request).await)[0].1, 3);
    let seen: Vec<_> = cluster
        .controller
        .reassigned
        .lock()
        .iter()
        .map(|asked| asked.allow_replication_factor_change)
        .collect();
    assert_eq!(seen, [false, true]);
}

fn elect(election_type: i8, partitions: Option<&[i32]>) -> ElectLeadersRequest {
    let topic = |partitions: &[i32]| TopicPartitions {
        topic: "a".into(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    ElectLeadersRequest {
        election_type,
        topic_partitions: partitions.map(|partitions| vec![topic(partitions)]),
        timeout_ms: 5_000,
        ..Default::default()
    }
}

fn elected(answer: &ElectLeadersResponse) -> (i16, Vec<(i32, i16)>) {
    let rows = answer
        .replica_election_results
        .iter()
        .flat_map(|topic| &topic.partition_result);
    let rows = rows.map(|row| (row.partition_id, row.error_code)).collect();
    (answer.error_code, rows)
}

#[tokio::test]
async fn rule_107_elections_reach_the_controller_and_every_row_is_answered() {
    let cluster = Cluster::start().await;
    cluster.create("a", 3, &[]).await;
    let mut client = cluster.connect().await;
    for version in 0..=2 {
        let answer = client.call(version, &elect(0, Some(&[2, 1, 5]))).await;
        assert_eq!(
            elected(&answer),
            (0, vec![(2, 0), (1, 84), (5, 3)]),
            "version {version}"
        );
    }
    let answer = client.call(2, &elect(1, None)).await;
    assert_eq!(elected(&answer), (0, vec![(0, 0), (1, 84), (2, 0)]));
    let answer = client.call(2, &elect(2, Some(&[0, 1]))).await;
    assert_eq!(elected(&answer), (42, vec![(0, 42), (1, 42)]), "no such election");
    let seen: Vec<_> = cluster
        .controller
        .elected
        .lock()
        .iter()
        .map(|asked| (asked.election, asked.all))
        .collect();
    assert_eq!(seen, [(0, false), (0, false), (0, false), (1, true)]);
}

#[tokio::test]
async fn without_a_controller_reassignments_and_elections_time_out() {
    let cluster = Cluster::start().await;
    *cluster.controller.away.lock() = true;
    let mut client = cluster.connect().await;
    let mut request = reassign("a", &[(0, None), (1, None)]);
    request.timeout_ms = 1;
    let answer = client.call(1, &request).await;
    assert_eq!(answer.error_code, 7);
    assert_eq!(codes(&answer).iter().map(|row| row.1).collect::<Vec<_>>(), [7, 7]);
    let mut request = elect(0, Some(&[0]));
    request.timeout_ms = 1;
    assert_eq!(elected(&client.call(2, &request).await), (7, vec![(0, 7)]));
}

#[tokio::test]
async fn a_broker_is_unregistered_by_its_id() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    let mut unregister = async |broker_id| {
        let request = UnregisterBrokerRequest {
            broker_id,
            ..Default::default()
        };
        let answer = client.call(0, &request).await;
        (answer.error_code, answer.error_message.as_deref().map(str::to_owned))
    };
    assert_eq!(unregister(0).await, (0, None));
    assert_eq!(unregister(9).await, (102, Some("because of 102".to_owned())));
}
