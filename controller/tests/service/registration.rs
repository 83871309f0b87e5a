//! Who may register: identity, directories, other processes of the same node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_controller::store::{EmbeddedStore, MetadataStore};
use highwater_proto::grpc;
use highwater_proto::grpc::session_request::Register;
use highwater_proto::grpc::session_response::Response as Answer;
use highwater_proto::metadata::NodeState;
use highwater_proto::types::NodeId;
use tonic::Code;

use crate::support::{Flaky, Node, Running, broker, create, register};

#[tokio::test]
async fn an_empty_directory_takes_no_id_whose_process_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (_node, epoch) = broker(&running, 1, 1).await;
    running.stop().await;
    // The next controller waits for those that it finds live.
    let running = Running::on_folder(folder.path()).await;
    let mut empty = Node::connect(running.client(), register(Some(1), 2, 99)).await;
    let status = empty.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("may come back"), "{status}");
    let mut node = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    assert_eq!(node.registered().await.epoch, epoch, "nothing has changed for it");
    running.stop().await;
}

#[tokio::test]
async fn a_live_session_blocks_another_process_of_the_same_node() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (node, epoch) = broker(&running, 1, 1).await;
    for id in [Some(1), None] {
        let mut other = Node::connect(running.client(), register(id, 2, 1_001)).await;
        let status = other.answer().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "to be tried again: {status}");
    }
    // The same process start may come back on another stream, and is the same registration.
    let mut again = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    assert_eq!(again.registered().await.epoch, epoch);
    drop((node, again));
    running
        .image_where("it is fenced", |image| {
            image.node(NodeId(1)).unwrap().state == NodeState::Fenced
        })
        .await;
    let mut other = Node::connect(running.client(), register(Some(1), 2, 1_001)).await;
    assert!(other.registered().await.epoch > epoch);
    // The first process start is over for good.
    let mut superseded = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    match superseded.answer().await.unwrap() {
        Answer::Refused(refused) => assert!(refused.reason.contains("taken its place"), "{refused:?}"),
        other => panic!("{other:?}"),
    }
    // Also for a controller that was not there.
    let later = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("metadata.redb"), later.path().join("metadata.redb")).unwrap();
    running.stop().await;
    let running = Running::on_folder(later.path()).await;
    let first = Register {
        epoch,
        ..register(Some(1), 1, 1_001)
    };
    let mut superseded = Node::connect(running.client(), first).await;
    assert!(matches!(superseded.answer().await.unwrap(), Answer::Refused(_)));
    running.stop().await;
}

#[tokio::test]
async fn foreign_directories_and_sessions_without_a_registration_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let foreign = Register {
        cluster_id: "other".into(),
        ..register(Some(1), 1, 1)
    };
    let mut node = Node::connect(running.client(), foreign).await;
    match node.answer().await.unwrap() {
        Answer::Refused(refused) => assert!(refused.reason.contains("belongs to cluster other"), "{refused:?}"),
        other => panic!("{other:?}"),
    }
    let nothing = Register {
        registration: None,
        ..register(Some(1), 1, 1)
    };
    let mut node = Node::connect(running.client(), nothing).await;
    assert_eq!(node.answer().await.unwrap_err().code(), Code::InvalidArgument);
    let mut client = running.client();
    let short = grpc::delete_topics_request::Target {
        name: None,
        topic_id: Bytes::from_static(b"short"),
    };
    let status = client
        .delete_topics(grpc::DeleteTopicsRequest { targets: vec![short] })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    running.stop().await;
}

#[tokio::test]
async fn a_registration_that_the_store_holds_up_holds_no_other_node_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Flaky::over(EmbeddedStore::open(folder.path()).unwrap());
    let running = Running::start(Arc::clone(&store) as Arc<dyn MetadataStore>).await;
    let (_known, epoch) = broker(&running, 1, 1).await;
    store.hold();
    let mut newcomer = Node::connect(running.client(), register(Some(2), 2, 1_002)).await;
    // Each has to have taken its place in the queue before the next comes.
    let turn = || tokio::time::sleep(Duration::from_millis(200));
    turn().await;
    // The stream of one that is known broke: it is back in time if it waits for no more than what came before it.
    let mut back = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    turn().await;
    let mut client = running.client();
    let creating = tokio::spawn(async move { create(&mut client, "later", 1).await });
    turn().await;
    let mut rival = Node::connect(running.client(), register(Some(2), 3, 1_003)).await;
    let status = rival.answer().await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::Unavailable,
        "two processes are not the same node: {status}"
    );
    store.let_through(1);
    newcomer.registered().await;
    assert_eq!(back.registered().await.epoch, epoch);
    assert!(!creating.is_finished(), "the test would prove nothing");
    store.let_through(1_000);
    creating.await.unwrap();
    running.stop().await;
}
