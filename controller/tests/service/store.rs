//! A store that fails, and a leadership that is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use highwater_controller::service::StopReason;
use highwater_controller::store::{EmbeddedStore, MetadataStore};
use highwater_proto::grpc;
use highwater_proto::types::NodeId;
use tonic::Code;
use uuid::Uuid;

use crate::support::{Flaky, Running, WAIT, Watcher, broker};

#[tokio::test]
async fn an_unknown_outcome_is_read_back_before_anything_else_is_decided() {
    let folder = tempfile::tempdir().unwrap();
    let store = Flaky::over(EmbeddedStore::open(folder.path()).unwrap());
    let running = Running::start(Arc::clone(&store) as Arc<dyn MetadataStore>).await;
    let _broker = broker(&running, 1, 1).await;
    let mut watcher = Watcher::open(running.client(), (*running.controller.image()).clone())
        .await
        .unwrap();
    let mut client = running.client();
    let topic = grpc::create_topics_request::CreatableTopic {
        name: "a".into(),
        partitions: 200,
        replication_factor: 1,
        topic_id: Bytes::copy_from_slice(Uuid::from_u128(7).as_bytes()),
        ..Default::default()
    };
    let request = grpc::CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };

    store.unreachable.store(true, Ordering::SeqCst);
    assert_eq!(
        client.create_topics(request.clone()).await.unwrap_err().code(),
        Code::Unavailable
    );
    store.forget_outcome.store(true, Ordering::SeqCst);
    assert_eq!(
        client.create_topics(request.clone()).await.unwrap_err().code(),
        Code::Aborted
    );
    // The first step happened; what it left is swept, and the same request succeeds as if it were the first.
    let answer = client.create_topics(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome.as_ref().unwrap().code, 0);
    let now = running.controller.image();
    assert_eq!(now.topic("a").unwrap().partitions.len(), 200);
    assert_eq!(now.orphan_partitions().count(), 0);
    watcher.reach(now.revision).await;
    assert_eq!(watcher.image, *now, "watchers follow through a reload");
    running.stop().await;
}

#[tokio::test]
async fn a_controller_that_lost_the_leadership_stops_deciding() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let running = Running::start(Arc::new(store.clone())).await;
    let (mut node, _) = broker(&running, 1, 1).await;
    running.shutdown.trigger();
    let reason = tokio::time::timeout(WAIT, running.controller.stopped()).await.unwrap();
    assert!(matches!(reason, StopReason::Asked), "{reason}");
    assert!(node.answer().await.is_err(), "sessions end with their controller");
    // The leadership is free again, as is everything that was committed.
    let next = Running::start(Arc::new(store)).await;
    assert!(next.controller.image().node(NodeId(1)).is_some());
    next.stop().await;
}
