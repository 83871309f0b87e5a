//! Metadata with auto-creation, DescribeCluster, DescribeTopicPartitions, ListConfigResources.

use std::time::Duration;

use highwater_proto::kafka::messages::describe_cluster::DescribeClusterRequest;
use highwater_proto::kafka::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use highwater_proto::kafka::messages::list_config_resources::ListConfigResourcesRequest;
use highwater_proto::kafka::messages::metadata::MetadataRequest;
use highwater_proto::kafka::messages::metadata::request::MetadataRequestTopic;

use crate::cluster::Cluster;
use crate::support::Client;

/// Error codes of topics that are asked for by name.
async fn ask(client: &mut Client, version: i16, names: &[&str], create: bool) -> Vec<i16> {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some((*name).into()),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: create,
        ..Default::default()
    };
    client
        .call(version, &request)
        .await
        .topics
        .iter()
        .map(|t| t.error_code)
        .collect()
}

#[tokio::test]
async fn rule_113_asking_for_a_topic_creates_it() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    assert_eq!(
        ask(&mut client, 9, &["new", "bad name"], true).await,
        [17, 3],
        "not there yet"
    );
    for _ in 0..200 {
        if ask(&mut client, 9, &["new"], true).await == [0] {
            let created = cluster.controller.created.lock();
            assert_eq!(created.len(), 1, "asked for once");
            let topic = &created[0].topics[0];
            assert_eq!(
                (&*topic.name, topic.partitions, topic.replication_factor),
                ("new", -1, -1)
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the topic was not created");
}

#[tokio::test]
async fn topics_are_not_created_where_client_or_broker_do_not_want_it() {
    let cluster = Cluster::start_with(&[("auto.create.topics.enable", "false")]).await;
    let mut client = cluster.connect().await;
    assert_eq!(ask(&mut client, 9, &["new"], true).await, [3]);
    let willing = Cluster::start().await;
    assert_eq!(ask(&mut willing.connect().await, 9, &["new"], false).await, [3]);
    // Something that is created for sure, after what must not be.
    willing.create("other", 1, &[]).await;
    assert_eq!(willing.controller.created.lock().len(), 1);
    assert_eq!(cluster.controller.created.lock().len(), 0);
}

#[tokio::test]
async fn a_client_finds_the_cluster() {
    let cluster = Cluster::start_with(&[("max.request.partition.size.limit", "2")]).await;
    cluster.create("t", 3, &[]).await;
    let mut client = cluster.connect().await;
    for version in 0..=13 {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..Default::default()
        };
        let answer = client.call(version, &request).await;
        let broker = &answer.brokers[0];
        assert_eq!(
            (broker.node_id, &*broker.host, broker.port),
            (0, "test.host", 9092),
            "version {version}"
        );
    }
    let described = client.call(2, &DescribeClusterRequest::default()).await;
    assert_eq!(
        (&*described.cluster_id, described.controller_id, described.brokers.len()),
        ("cluster", 0, 1)
    );
    let page = client.call(0, &DescribeTopicPartitionsRequest::default()).await;
    assert_eq!(page.topics[0].partitions.len(), 2, "the broker's limit");
    assert_eq!(page.next_cursor.map(|cursor| cursor.partition_index), Some(2));
    let listed = client.call(1, &ListConfigResourcesRequest::default()).await;
    let names: Vec<_> = listed
        .config_resources
        .iter()
        .map(|r| (r.resource_type, r.resource_name.to_string()))
        .collect();
    assert_eq!(names, [(4, "0".to_owned()), (2, "t".to_owned())]);
}
