//! Watches of the metadata.

use std::sync::Arc;

use highwater_controller::service::ControllerConfig;
use highwater_controller::store::EmbeddedStore;
use highwater_node::transport::{Channel, Listener};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::Revision;
use tonic::Code;

use crate::support::{Running, Watcher, broker, config, create};

#[tokio::test]
async fn watchers_see_every_image_and_resume_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let mut early = Watcher::open(running.client(), MetadataImage::default()).await.unwrap();
    early.reach(running.controller.image().revision).await;
    let _broker = broker(&running, 1, 1).await;
    let mut client = running.client();
    create(&mut client, "wide", 300).await;
    let now = running.controller.image();
    early.reach(now.revision).await;
    assert_eq!((&early.image, early.snapshots), (&*now, 1), "a snapshot, then updates");

    let mut resumed = Watcher::open(running.client(), early.image.clone()).await.unwrap();
    create(&mut client, "b", 1).await;
    let now = running.controller.image();
    resumed.reach(now.revision).await;
    assert_eq!(
        (&resumed.image, resumed.snapshots),
        (&*now, 0),
        "no snapshot for who can go on"
    );

    let mut ahead = (*now).clone();
    ahead.revision = Revision(now.revision.get() + 1);
    assert_eq!(
        Watcher::open(running.client(), ahead).await.err().unwrap().code(),
        Code::Unavailable
    );
    let mut foreign = (*now).clone();
    foreign.cluster.cluster_id = "other".into();
    assert_eq!(
        Watcher::open(running.client(), foreign).await.err().unwrap().code(),
        Code::FailedPrecondition
    );
    running.stop().await;
}

#[tokio::test]
async fn a_slow_watcher_gets_a_fresh_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    let running = Running::start_with(
        store,
        ControllerConfig {
            watch_history: 4,
            ..config()
        },
    )
    .await;
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://127.0.0.1:{}", listener.port());
    running.controller.serve(listener);
    let _broker = broker(&running, 1, 1).await;
    // A window so small that a few updates fill it while nobody reads.
    let endpoint = tonic::transport::Endpoint::from_shared(uri)
        .unwrap()
        .initial_stream_window_size(1_024);
    let slow_client = ControllerClient::new(Channel::from(endpoint.connect().await.unwrap()));
    let start = (*running.controller.image()).clone();
    let mut slow = Watcher::open(slow_client, start).await.unwrap();
    let mut client = running.client();
    for n in 0..40 {
        create(&mut client, &format!("topic-{n}"), 100).await;
    }
    let now = running.controller.image();
    slow.reach(now.revision).await;
    assert_eq!(slow.image, *now);
    assert!(slow.snapshots >= 1);
    running.stop().await;
}
