//! A store that takes no writes, is older than it was, or forgets.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_store_takes_no_writes_says_so_until_it_does() {
    let controllers = Controllers::start(1).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    let only = &controllers.running[0];
    only.sight.full.store(true, Ordering::SeqCst);
    let status = broker.admin().create_topics(topic("a", 1)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let report = only.health.report();
    assert!(
        !only.health.is_ready() && report.contains("database space exceeded"),
        "{report}"
    );
    assert!(broker.is_connected(), "the data plane goes on");
    only.sight.full.store(false, Ordering::SeqCst);
    // Nobody needs to ask for anything.
    until("it is ready again", || only.health.is_ready()).await;
    create(&broker, "a").await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_first_decision_fails_stands_by_and_leads_later() {
    let folder = tempfile::tempdir().unwrap();
    let sight = Sight::new(&EmbeddedStore::open(folder.path()).unwrap());
    sight.full.store(true, Ordering::SeqCst);
    let only = Running::start_with(sight, 0).await;
    until("it says why it does not lead", || {
        only.health.report().contains("database space exceeded")
    })
    .await;
    assert!(!only.controller().is_active());
    only.sight.full.store(false, Ordering::SeqCst);
    until("it leads", || only.controller().is_active()).await;
    until("it is ready", || only.health.is_ready()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_restored_from_a_backup_is_refused_until_the_cluster_is_told() {
    let mut controllers = Controllers::start(1).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    create(&broker, "old").await;
    let backup = tempfile::tempdir().unwrap();
    std::fs::copy(
        controllers._folder.path().join("metadata.redb"),
        backup.path().join("metadata.redb"),
    )
    .unwrap();
    for n in 0..5 {
        let revision = create(&broker, &format!("new-{n}")).await;
        broker.wait_for_revision(revision, WAIT).await.unwrap();
    }
    let seen = broker.image();
    let port = controllers.running[0].port;
    controllers.running[0].kill();

    let store = EmbeddedStore::open(backup.path()).unwrap();
    controllers.running[0] = Running::start(&store, port).await;
    let only = &controllers.running[0];
    let says = |text: &str| only.health.report().contains(text);
    until("it says what to do", || {
        says("highwater-controller restore --seen-revision")
    })
    .await;
    until("it does not decide", || !only.controller().is_active()).await;
    assert!(!only.health.is_ready(), "{}", only.health.report());
    assert_eq!(*broker.image(), *seen, "a lower snapshot is refused");

    let restored = restore::restore(&(Arc::new(store) as Arc<dyn MetadataStore>), seen.revision)
        .await
        .unwrap();
    assert_eq!(restored.generation, seen.cluster.generation + 1);
    let revision = create(&broker, "after").await;
    let image = broker.wait_for_revision(revision, WAIT).await.unwrap();
    assert_eq!(image.cluster.generation, restored.generation);
    assert!(image.topic("new-0").is_none() && image.topic("old").is_some());
    let (before, after) = (
        &seen.topic("old").unwrap().partitions,
        &image.topic("old").unwrap().partitions,
    );
    for (before, after) in before.iter().zip(after) {
        assert!(after.leader_epoch > before.leader_epoch && after.epoch.get() > seen.revision.get());
    }
    assert!(only.health.is_ready(), "{}", only.health.report());
    assert_eq!(
        controllers.store.load().await.unwrap().revision,
        seen.revision,
        "the other store is left alone"
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_store_is_noticed_also_when_everything_was_restarted() {
    let mut controllers = Controllers::start(1).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    let backup = tempfile::tempdir().unwrap();
    std::fs::copy(
        controllers._folder.path().join("metadata.redb"),
        backup.path().join("metadata.redb"),
    )
    .unwrap();
    let mut revision = Revision(0);
    for n in 0..5 {
        revision = create(&broker, &format!("new-{n}")).await;
    }
    let seen = broker.wait_for_revision(revision, WAIT).await.unwrap().position();
    stop.cancel();
    drop(broker);
    let port = controllers.running[0].port;
    controllers.running[0].kill();
    let store = EmbeddedStore::open(backup.path()).unwrap();
    controllers.running[0] = Running::start(&store, port).await;
    let stop = CancellationToken::new();
    let only = &controllers.running[0];
    let refused = only.health.clone();
    let coming = Controllers::broker_that_saw(seen, std::slice::from_ref(&only), 2, &stop);
    let restoring = async {
        let wanted = format!("--seen-revision {}", seen.1);
        until("it says what to do", || refused.report().contains(&wanted)).await;
        restore::restore(&(Arc::new(store) as Arc<dyn MetadataStore>), seen.1)
            .await
            .unwrap()
    };
    let (broker, restored) = tokio::join!(coming, restoring);
    assert_eq!(broker.image().cluster.generation, restored.generation);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_whose_watch_was_compacted_reads_everything_and_so_do_its_watchers() {
    let mut controllers = Controllers::start(2).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    create(&broker, "before").await;
    let active = controllers.active().await;
    let standby = &controllers.running[1 - active];
    let request = grpc::WatchMetadataRequest::default();
    let mut updates = standby.client().watch_metadata(request).await.unwrap().into_inner();
    while !updates.message().await.unwrap().unwrap().last {}
    standby.sight.compacted.store(true, Ordering::SeqCst);
    let lost = create(&broker, "lost").await;
    let revision = create(&broker, "after").await;
    until("it has what it did not hear of", || {
        standby.controller().image().revision >= revision
    })
    .await;
    assert!(
        !standby.sight.compacted.load(Ordering::SeqCst),
        "its watch was compacted"
    );
    assert_eq!(
        *standby.controller().image(),
        *controllers.running[active].controller().image()
    );
    // Nobody is shown what follows on a gap.
    let next = updates.message().await.unwrap().unwrap();
    assert!(next.snapshot && Revision(next.revision) >= lost, "{next:?}");
    controllers.running[active].kill();
    let revision = create(&broker, "later").await;
    let image = broker.wait_for_revision(revision, WAIT).await.unwrap();
    assert!(image.topic("lost").is_some());
    stop.cancel();
}
