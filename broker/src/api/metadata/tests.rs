use highwater_proto::metadata::NodeState;
use highwater_proto::types::CONSUMER_OFFSETS_TOPIC;

use super::super::test_image::{LISTENER, TestImage, topic_id};
use super::*;

fn image() -> MetadataImage {
    TestImage::new()
        .broker(1, NodeState::Active, &[LISTENER])
        .broker(2, NodeState::Fenced, &[LISTENER])
        .broker(3, NodeState::Active, &["OTHER"])
        .topic("b", 20, &[(Some(1), &[1, 2]), (None, &[2]), (Some(3), &[3, 9])])
        .topic("a", 10, &[(Some(1), &[1])])
        .topic(CONSUMER_OFFSETS_TOPIC, 30, &[(Some(1), &[1])])
        .build()
}

fn ask(version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> MetadataAnswer {
    let image = image();
    let request = MetadataRequest {
        topics,
        ..Default::default()
    };
    Answerer {
        image: &image,
        view: ClusterView::new(&image, LISTENER),
        asked: NodeId(1),
        version,
        request: &request,
    }
    .answer()
}

fn named(names: &[&str]) -> Option<Vec<MetadataRequestTopic>> {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some(ByteStr::from(*name)),
        ..Default::default()
    };
    Some(names.iter().map(topic).collect())
}

fn identified(id: u128, name: Option<&str>) -> MetadataRequestTopic {
    MetadataRequestTopic {
        topic_id: topic_id(id).0,
        name: name.map(ByteStr::from),
        ..Default::default()
    }
}

fn topics(answer: &MetadataAnswer) -> Vec<(i16, Option<&str>)> {
    answer
        .response
        .topics
        .iter()
        .map(|t| (t.error_code, t.name.as_deref()))
        .collect()
}

#[test]
fn null_is_all_and_empty_is_none_but_in_version_0() {
    let all = [(0, Some("__consumer_offsets")), (0, Some("a")), (0, Some("b"))];
    assert_eq!(topics(&ask(1, None)), all);
    assert_eq!(topics(&ask(0, Some(Vec::new()))), all);
    assert_eq!(topics(&ask(1, Some(Vec::new()))), []);
    let internal: Vec<_> = ask(9, None).response.topics.iter().map(|t| t.is_internal).collect();
    assert_eq!(internal, [true, false, false]);
}

#[test]
fn unknown_names_are_missing_and_bad_ones_are_not() {
    let answer = ask(9, named(&["new", "b", "bad name", "", "new"]));
    assert_eq!(
        topics(&answer),
        [(17, Some("")), (0, Some("b")), (17, Some("bad name")), (3, Some("new"))]
    );
    assert_eq!(answer.missing, ["new"], "to be created");
    assert!(ask(9, None).missing.is_empty());
}

#[test]
fn rule_171_topics_by_id() {
    let answer = ask(
        12,
        Some(vec![
            identified(20, None),
            identified(99, None),
            identified(0, Some("a")),
        ]),
    );
    assert_eq!(
        topics(&answer),
        [(0, Some("b")), (100, None)],
        "names beside ids are ignored"
    );
    assert_eq!(answer.response.topics[1].topic_id, topic_id(99).0);
    assert!(answer.missing.is_empty(), "an unknown id is not created");
    assert_eq!(topics(&ask(11, Some(vec![identified(20, None)]))), [(42, Some(""))]);
    assert_eq!(topics(&ask(10, Some(vec![identified(0, None)]))), [(42, Some(""))]);
}

#[test]
fn rule_113_partitions_without_a_leader_to_talk_to() {
    let rows = |version| {
        let answer = ask(version, named(&["b"]));
        let row = |p: &MetadataResponsePartition| (p.error_code, p.leader_id, p.offline_replicas.clone());
        answer.response.topics[0].partitions.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(9), [(0, 1, vec![2]), (5, -1, vec![2]), (72, -1, vec![3, 9])]);
    assert_eq!(rows(5)[2].0, 5, "older clients do not know error 72");
    let answer = ask(9, named(&["b"]));
    let offline = &answer.response.topics[0].partitions[1];
    assert_eq!(
        (offline.leader_epoch, &offline.replica_nodes, &offline.isr_nodes),
        (7, &vec![2], &vec![2])
    );
}

#[test]
fn rule_113_version_0_names_live_replicas_only() {
    let answer = ask(0, named(&["b"]));
    let row = |p: &MetadataResponsePartition| (p.error_code, p.leader_id, p.replica_nodes.clone());
    let rows: Vec<_> = answer.response.topics[0].partitions.iter().map(row).collect();
    assert_eq!(rows, [(9, 1, vec![1]), (5, -1, vec![]), (5, -1, vec![])]);
}

#[test]
fn brokers_are_those_that_this_listener_reaches() {
    let answer = ask(9, Some(Vec::new())).response;
    let rows: Vec<_> = answer
        .brokers
        .iter()
        .map(|b| (b.node_id, &*b.host, b.port, b.rack.as_deref()))
        .collect();
    assert_eq!(rows, [(1, "b1", 9092, Some("rack1"))]);
    assert_eq!(
        (answer.controller_id, answer.cluster_id.as_deref()),
        (1, Some("cluster"))
    );
    assert_eq!(answer.cluster_authorized_operations, i32::MIN);
}

#[test]
fn answers_encode_in_every_version() {
    use highwater_proto::kafka::Message;
    for version in Metadata::VERSIONS {
        let topics = named(&["a", "b", "bad name", "new"]);
        let mut buf = bytes::BytesMut::new();
        ask(version, topics)
            .response
            .encode(&mut buf, version)
            .expect("encodes");
        let decoded = MetadataResponse::decode(&mut buf.freeze(), version).expect("decodes");
        assert_eq!(decoded.topics.len(), 4);
    }
}
