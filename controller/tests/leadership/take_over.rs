//! Who leads, and who takes over.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_controller_that_is_killed() {
    let mut controllers = Controllers::start(3).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    let epoch = broker.identity().unwrap().epoch;
    let images = never_back(&broker);
    for round in 0..2 {
        let revision = create(&broker, &format!("before-{round}")).await;
        broker.wait_for_revision(revision, WAIT).await.unwrap();
        let first = controllers.active().await;
        controllers.running[first].kill();
        let killed = Instant::now();
        let revision = create(&broker, &format!("after-{round}")).await;
        assert!(killed.elapsed() < HAND_OVER, "{:?}", killed.elapsed());
        assert_ne!(controllers.active().await, first);
        let image = broker.wait_for_revision(revision, WAIT).await.unwrap();
        assert!(image.topic(&format!("before-{round}")).is_some());
        // The same registration: nobody was fenced, nothing moved.
        assert_eq!(
            (broker_of(&image).epoch, broker_of(&image).state),
            (epoch, NodeState::Active)
        );
        let partitions = &image.topic("before-0").unwrap().partitions;
        assert!(
            partitions.iter().all(|partition| partition.leader_epoch.get() == 0),
            "{partitions:?}"
        );
        assert_eq!(broker.identity().unwrap().epoch, epoch);
    }
    let last = controllers.active().await;
    assert_eq!(
        *controllers.running[last].controller().image(),
        *broker.image(),
        "what came through standbys is the same"
    );
    drop(broker);
    stop.cancel();
    assert!(images.await.unwrap() > 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_asked_to_stop_hands_over_at_once() {
    let mut controllers = Controllers::start(2).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    create(&broker, "before").await;
    let first = controllers.active().await;
    let asked = Instant::now();
    let mut stopping = controllers.running.remove(first);
    let (_, next) = tokio::join!(stopping.terminate(), async {
        controllers.active().await;
        asked.elapsed()
    });
    let revision = create(&broker, "after").await;
    println!(
        "another one is active after {next:?}, a topic is created after {:?}",
        asked.elapsed()
    );
    assert!(asked.elapsed() < HAND_OVER, "{:?}", asked.elapsed());
    let image = broker.wait_for_revision(revision, WAIT).await.unwrap();
    assert_eq!(broker_of(&image).state, NodeState::Active);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standbys_show_metadata_and_name_the_active_one() {
    let controllers = Controllers::start(2).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    let active = controllers.active().await;
    let (active, standby) = (&controllers.running[active], &controllers.running[1 - active]);
    let refusal = standby.client().create_topics(topic("a", 1)).await.unwrap_err();
    assert_eq!(
        named_active_controller(&refusal),
        Some(("127.0.0.1".to_owned(), active.port)),
        "{refusal}"
    );

    let revision = create(&broker, "a").await;
    until("the standby shows the topic", || {
        standby.controller().image().revision >= revision
    })
    .await;
    assert_eq!(*standby.controller().image(), *active.controller().image());
    let led = Controllers::broker_of(&[standby], 2, &stop).await;
    assert!(
        active
            .controller()
            .image()
            .node(led.identity().unwrap().node_id)
            .is_some()
    );
    create(&led, "b").await;

    let request = grpc::WatchMetadataRequest::default();
    let mut updates = standby.client().watch_metadata(request).await.unwrap().into_inner();
    assert!(updates.message().await.unwrap().unwrap().snapshot);

    for (one, count) in [(active, "1.0"), (standby, "0.0")] {
        let text = one.metrics.encode().unwrap();
        let line = format!("\nkafka_controller_kafkacontroller_activecontrollercount {count}\n");
        assert!(text.contains(&line), "{text}");
        assert!(one.health.is_ready(), "{}", one.health.report());
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_was_deposed_unawares_changes_nothing() {
    let controllers = Controllers::start(2).await;
    let stop = CancellationToken::new();
    let broker = controllers.broker(1, &stop).await;
    create(&broker, "before").await;
    let first = controllers.active().await;
    let (old, new) = (&controllers.running[first], &controllers.running[1 - first]);
    old.sight.depose();
    until("the other one is active", || new.controller().is_active()).await;
    assert!(old.controller().is_active(), "it does not know yet");
    old.client().create_topics(topic("lost", 1)).await.unwrap_err();
    until("it stands by", || !old.controller().is_active()).await;
    // Its sessions ended with it, and it follows the one that leads now.
    let revision = create(&broker, "after").await;
    until("it follows", || old.controller().image().revision >= revision).await;
    assert_eq!(*old.controller().image(), *new.controller().image());
    assert!(new.controller().image().topic("lost").is_none());
    let image = broker.wait_for_revision(revision, WAIT).await.unwrap();
    assert_eq!(broker_of(&image).state, NodeState::Active);
    stop.cancel();
}
