//! Sessions: registered, alive, silent, broken.

use std::sync::Arc;
use std::time::Duration;

use highwater_controller::store::EmbeddedStore;
use highwater_node::transport::{Dialer, Listener};
use highwater_proto::grpc;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::session_request::{Heartbeat, Leave, Request as Said, Unfence};
use highwater_proto::grpc::session_response::Response as Answer;
use highwater_proto::metadata::{MetadataImage, NodeState};
use highwater_proto::types::NodeId;
use tonic::Code;

use crate::support::{Node, Running, broker, config, create, leader, register};

#[tokio::test]
async fn a_broker_registers_serves_and_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    assert_eq!(running.controller.image().cluster.cluster_id.len(), 22);
    let (mut node, epoch) = broker(&running, 3, 1).await;
    assert!(matches!(
        node.say(Said::Heartbeat(Heartbeat::default())).await,
        Answer::Alive(_)
    ));

    let mut client = running.client();
    assert_eq!(create(&mut client, "a", 4).await.0, 0);
    let (code, revision) = create(&mut client, "a", 4).await;
    assert_eq!(code, 36, "without an id of the caller it is another topic");
    let image = running.controller.image();
    assert_eq!(
        (image.revision.get(), leader(&image, "a").0),
        (revision, Some(NodeId(3)))
    );
    let ids = grpc::AllocateProducerIdsRequest {
        broker_id: 3,
        broker_epoch: epoch,
    };
    let blocks = [
        client.allocate_producer_ids(ids).await.unwrap(),
        client.allocate_producer_ids(ids).await.unwrap(),
    ];
    assert_eq!(
        blocks.map(|block| (block.get_ref().first, block.get_ref().count)),
        [(0, 1000), (1000, 1000)]
    );
    let stale = grpc::AllocateProducerIdsRequest {
        broker_id: 3,
        broker_epoch: epoch - 1,
    };
    assert_eq!(
        client
            .allocate_producer_ids(stale)
            .await
            .unwrap()
            .into_inner()
            .outcome
            .unwrap()
            .code,
        77
    );

    match node.say(Said::Leave(Leave::default())).await {
        Answer::MayLeave(may_leave) => assert_eq!(may_leave.revision, running.controller.image().revision.get()),
        other => panic!("{other:?}"),
    }
    let image = running.controller.image();
    assert_eq!(image.node(NodeId(3)).unwrap().state, NodeState::Fenced);
    assert_eq!(leader(&image, "a").0, None);
    running.stop().await;
}

#[tokio::test]
async fn a_broken_session_is_fenced_at_once_in_memory_and_after_the_grace_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.port();
    running.controller.serve(listener);
    let (local, _) = broker(&running, 1, 1).await;
    let channel = Dialer::tcp().channel("127.0.0.1", port);
    let mut remote = Node::connect(ControllerClient::new(channel), register(Some(2), 2, 2)).await;
    remote.registered().await;
    remote.say(Said::Unfence(Unfence::default())).await;
    let state = |image: &MetadataImage, id| image.node(NodeId(id)).unwrap().state;

    let started = std::time::Instant::now();
    drop(remote);
    drop(local);
    running
        .image_where("the local broker is fenced", |image| {
            state(image, 1) == NodeState::Fenced
        })
        .await;
    assert_eq!(
        state(&running.controller.image(), 2),
        NodeState::Active,
        "within its grace"
    );
    running
        .image_where("the remote broker is fenced", |image| {
            state(image, 2) == NodeState::Fenced
        })
        .await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    running.stop().await;
}

#[tokio::test]
async fn silence_on_a_stream_that_stands_is_fenced_and_the_stream_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.patience.silence = Duration::from_millis(600);
    let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    let running = Running::start_with(store, config).await;
    let (mut node, _) = broker(&running, 1, 1).await;
    let status = node.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("silence"), "{status}");
    assert_eq!(
        running.controller.image().node(NodeId(1)).unwrap().state,
        NodeState::Fenced
    );
    running.stop().await;
}
