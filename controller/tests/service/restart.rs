//! What a controller finds again.

use std::sync::Arc;
use std::time::Duration;

use highwater_controller::service::ControllerConfig;
use highwater_controller::store::EmbeddedStore;
use highwater_proto::metadata::NodeState;
use highwater_proto::types::NodeId;

use crate::support::{Running, broker, config, create, leader};

#[tokio::test]
async fn a_restart_finds_everything_again_and_bumps_leader_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (_node, epoch) = broker(&running, 1, 1).await;
    let (_, revision) = create(&mut running.client(), "a", 3).await;
    let before = running.controller.image();
    // What a killed process leaves: the file as it is, nothing closed, nobody fenced.
    std::fs::copy(folder.path().join("metadata.redb"), killed.path().join("metadata.redb")).unwrap();
    running.stop().await;

    let running = Running::on_folder(killed.path()).await;
    let image = running.controller.image();
    assert!(
        image.revision.get() > revision,
        "the election of the new controller is a revision"
    );
    assert_eq!(image.cluster, before.cluster);
    assert_eq!(image.topic("a"), before.topic("a"), "epochs included");
    assert_eq!(image.node(NodeId(1)).unwrap().epoch.get(), epoch);
    assert_eq!(image.next_producer_id, before.next_producer_id);

    let (_node, later) = broker(&running, 1, 2).await;
    assert!(later > epoch);
    let image = running.controller.image();
    assert_eq!(leader(&image, "a").0, Some(NodeId(1)));
    assert!(leader(&image, "a").1 > leader(&before, "a").1);
    running.stop().await;
}

#[tokio::test]
async fn a_process_that_is_the_whole_cluster_waits_for_nobody_it_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let _broker = broker(&running, 1, 1).await;
    std::fs::copy(folder.path().join("metadata.redb"), killed.path().join("metadata.redb")).unwrap();
    let store = Arc::new(EmbeddedStore::open(killed.path()).unwrap());
    let restarted = Running::start_with(
        store,
        ControllerConfig {
            sole_process: true,
            ..config()
        },
    )
    .await;
    let started = std::time::Instant::now();
    restarted
        .image_where("it is fenced", |image| {
            image.node(NodeId(1)).unwrap().state == NodeState::Fenced
        })
        .await;
    assert!(started.elapsed() < Duration::from_secs(2), "not the full timeout");
    running.stop().await;
    restarted.stop().await;
}
