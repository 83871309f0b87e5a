//! Requests that were under way when the controller died.

use std::time::Duration;

use highwater_proto::kafka::Request;
use highwater_proto::kafka::messages::create_partitions::CreatePartitionsRequest;
use highwater_proto::kafka::messages::create_partitions::request::CreatePartitionsTopic;
use highwater_proto::kafka::messages::delete_topics::DeleteTopicsRequest;
use highwater_proto::kafka::messages::unregister_broker::UnregisterBrokerRequest;
use highwater_proto::metadata::Change;
use highwater_proto::types::{NodeId, TopicId};
use uuid::Uuid;

use crate::cluster::Cluster;

/// Sends a request whose answer the controller owes, and lets it die over it.
async fn killed_over<R: Request + Send + 'static>(
    cluster: &Cluster,
    version: i16,
    request: R,
    meanwhile: impl FnOnce(),
) -> R::Response
where
    R::Response: Send + 'static,
{
    let (controller, mut client) = (&cluster.controller, cluster.connect().await);
    *controller.mute.lock() = true;
    let before = controller.image().revision;
    let asking = tokio::spawn(async move { client.call(version, &request).await });
    while controller.image().revision == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    cluster.kill_controller(meanwhile).await;
    asking.await.expect("an answer")
}

#[tokio::test]
async fn what_a_controller_did_before_it_died_is_neither_done_again_nor_an_error() {
    let cluster = Cluster::start().await;
    cluster.create("a", 1, &[]).await;
    let controller = &cluster.controller;
    let growth = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "a".into(),
            count: 3,
            assignments: None,
            ..Default::default()
        }],
        timeout_ms: 5_000,
        ..Default::default()
    };
    let grown = killed_over(&cluster, 3, growth, || ()).await;
    assert_eq!(grown.results[0].error_code, 0, "{grown:?}");

    // The node joins, is unregistered, and joins again while the controller is away.
    let registration = controller
        .image()
        .node(NodeId(0))
        .expect("registered")
        .registration
        .clone();
    let join = || Change::PutNodeRegistration(NodeId(7), registration.clone());
    controller.commit(vec![join()]);
    // The broker has the node in its image before it is asked about it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let unregister = UnregisterBrokerRequest {
        broker_id: 7,
        ..Default::default()
    };
    let rejoin = || {
        controller.commit(vec![join()]);
    };
    let unregistered = killed_over(&cluster, 0, unregister, rejoin).await;
    assert_eq!(unregistered.error_code, 0, "{unregistered:?}");
    assert!(controller.image().node(NodeId(7)).is_some(), "the later one stays");

    // So does a topic of the same name that somebody creates.
    let deletion = DeleteTopicsRequest {
        topic_names: vec!["a".into()],
        timeout_ms: 5_000,
        ..Default::default()
    };
    let later = TopicId(Uuid::from_u128(77));
    let create_again = || {
        let topic = Change::PutTopic {
            name: "a".into(),
            topic_id: later,
            partition_count: 0,
            configs: Default::default(),
            owner: None,
        };
        controller.commit(vec![topic]);
    };
    let deleted = killed_over(&cluster, 5, deletion, create_again).await;
    assert_eq!(
        (deleted.responses[0].error_code, deleted.responses[0].name.as_deref()),
        (0, Some("a"))
    );
    assert_eq!(controller.image().topic("a").map(|topic| topic.id), Some(later));
}
