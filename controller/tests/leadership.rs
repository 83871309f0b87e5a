//! Several controllers over one store: who leads, who stands by, and what nodes notice of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_controller::process::{ControllerProcess, ProcessParts};
use highwater_controller::restore;
use highwater_controller::store::{
    CommitError, EmbeddedStore, Leadership, Loaded, MetadataStore, StoreError, Transaction, Watch, WatchError,
};
use highwater_node::clock::Clock;
use highwater_node::config::{NodeConfig, SessionConfig, Sources};
use highwater_node::http::Health;
use highwater_node::session::{
    ControllerLink, LinkOptions, NodeStatus, Recovery, Registration, named_active_controller,
};
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{Channel, Dialer, Listener};
use highwater_proto::config::Profile;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::metadata::{MetadataImage, NodeRegistration, NodeRole, NodeState};
use highwater_proto::types::Revision;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(20);
/// More than a hand-over needs, less than any timeout that would hide one that does not work.
const HAND_OVER: Duration = Duration::from_secs(2);

/// The store as one controller sees it.
#[derive(Clone)]
struct Sight {
    store: EmbeddedStore,
    leadership: Arc<Mutex<Option<Leadership>>>,
    full: Arc<AtomicBool>,
    /// The next transaction is not there any more when its turn comes on a watch.
    compacted: Arc<AtomicBool>,
}

impl Sight {
    fn new(store: &EmbeddedStore) -> Self {
        Self {
            store: store.clone(),
            leadership: Arc::default(),
            full: Arc::default(),
            compacted: Arc::default(),
        }
    }

    /// Takes the leadership away without telling.
    fn depose(&self) {
        self.leadership.lock().take();
    }
}

#[tonic::async_trait]
impl MetadataStore for Sight {
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load().await
    }

    async fn commit(&self, leadership: &Leadership, transaction: Transaction) -> Result<Revision, CommitError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(CommitError::Unavailable("database space exceeded".into()));
        }
        self.store.commit(leadership, transaction).await
    }

    async fn watch(&self, after: Revision) -> Result<Watch, StoreError> {
        let mut watch = self.store.watch(after).await?;
        let (events, receiver) = mpsc::channel(64);
        let compacted = Arc::clone(&self.compacted);
        tokio::spawn(async move {
            loop {
                let mut event = watch.next().await;
                if event.is_ok() && compacted.swap(false, Ordering::SeqCst) {
                    event = Err(WatchError::Compacted { after });
                }
                let over = event.is_err();
                if events.send(event).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Watch::new(after, receiver))
    }

    async fn campaign(&self, candidate: &str) -> Result<Leadership, StoreError> {
        let held = self.store.campaign(candidate).await?;
        let created = held.created();
        *self.leadership.lock() = Some(held);
        let slot = Arc::clone(&self.leadership);
        let release = move || drop(slot.lock().take());
        Ok(Leadership::new(created, CancellationToken::new(), release))
    }

    async fn resign(&self, leadership: Leadership) {
        drop(leadership);
    }

    fn leader(&self) -> tokio::sync::watch::Receiver<Option<String>> {
        self.store.leader()
    }
}

/// A controller that can be killed: it has a runtime of its own.
struct Running {
    runtime: Option<Runtime>,
    controller: Option<ControllerProcess>,
    sight: Sight,
    health: Health,
    metrics: Metrics,
    port: u16,
}

impl Running {
    async fn start(store: &EmbeddedStore, port: u16) -> Self {
        Self::start_with(Sight::new(store), port).await
    }

    async fn start_with(sight: Sight, port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let flags = [
            ("default.replication.factor", "1"),
            ("min.insync.replicas", "1"),
            ("node.reconnect.grace.ms", "300"),
        ];
        let sources = Sources {
            file: None,
            environment: Vec::new(),
            flags: flags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        };
        let (health, metrics) = (Health::new(), Metrics::new(&Clock::system()));
        let parts = (sight.clone(), health.clone(), metrics.clone());
        let starting = runtime.spawn(async move {
            let (sight, health, metrics) = parts;
            let config = NodeConfig::load(Profile::Cluster, &sources).unwrap();
            let grpc = Listener::bind(&format!("127.0.0.1:{port}")).await.unwrap();
            let port = grpc.port();
            let controller = ControllerProcess::start(ProcessParts {
                config: &config,
                store: Arc::new(sight),
                advertised: format!("127.0.0.1:{port}"),
                grpc,
                clock: Clock::system(),
                shutdown: Shutdown::new(Duration::from_millis(500)),
                metrics,
                health: health.check("controller"),
            });
            (controller.await.unwrap(), port)
        });
        let (controller, port) = starting.await.unwrap();
        Self {
            runtime: Some(runtime),
            controller: Some(controller),
            sight,
            health,
            metrics,
            port,
        }
    }

    fn controller(&self) -> &ControllerProcess {
        self.controller.as_ref().unwrap()
    }

    fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(Dialer::tcp().channel("127.0.0.1", self.port))
    }

    /// As kill -9, but that the leadership ends at once.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn terminate(&mut self) {
        self.controller.take().unwrap().stop().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < WAIT, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Controllers {
    store: EmbeddedStore,
    running: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Controllers {
    async fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let mut running = Vec::new();
        for _ in 0..count {
            running.push(Running::start(&store, 0).await);
        }
        let controllers = Self {
            store,
            running,
            _folder: folder,
        };
        controllers.active().await;
        controllers
    }

    /// Which one decides, once all others know.
    async fn active(&self) -> usize {
        let alive = || self.running.iter().enumerate().filter(|(_, one)| one.runtime.is_some());
        let find = || alive().position(|(_, one)| one.controller().is_active());
        until("one of them is active", || find().is_some()).await;
        let active = find().unwrap();
        alive().nth(active).unwrap().0
    }

    /// A broker that knows all of them.
    async fn broker(&self, incarnation: u128, stop: &CancellationToken) -> ControllerLink {
        let all: Vec<_> = self.running.iter().collect();
        Self::broker_of(&all, incarnation, stop).await
    }

    /// A broker that was told of some.
    async fn broker_of(known: &[&Running], incarnation: u128, stop: &CancellationToken) -> ControllerLink {
        Self::broker_that_saw(Default::default(), known, incarnation, stop).await
    }

    /// A broker whose earlier process starts had seen this generation and revision.
    async fn broker_that_saw(
        seen: (i64, Revision),
        known: &[&Running],
        incarnation: u128,
        stop: &CancellationToken,
    ) -> ControllerLink {
        let options = LinkOptions {
            controllers: known.iter().map(|one| ("127.0.0.1".to_owned(), one.port)).collect(),
            dialer: Dialer::tcp(),
            session: SessionConfig {
                reconnect_grace: Duration::from_millis(300),
                timeout: Duration::from_secs(5),
            },
            status: Arc::new(NodeStatus::default),
        };
        let registration = Registration {
            node_id: None,
            cluster_id: String::new(),
            node: NodeRegistration {
                role: NodeRole::Broker,
                incarnation: Uuid::from_u128(incarnation),
                directory_id: Uuid::from_u128(incarnation + 1_000),
                endpoints: Vec::new(),
                rack: None,
                api_ranges: Vec::new(),
            },
            clean_shutdown: true,
            seen,
        };
        let link = ControllerLink::connect(options, registration, stop).await.unwrap();
        link.unfence(Recovery::default(), WAIT).await.unwrap();
        link
    }
}

fn topic(name: &str, partitions: i32) -> grpc::CreateTopicsRequest {
    let topic = grpc::create_topics_request::CreatableTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: -1,
        topic_id: Uuid::new_v4().as_bytes().to_vec().into(),
        ..Default::default()
    };
    grpc::CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    }
}

/// Creates a topic as a broker does for a client that retries.
async fn create(link: &ControllerLink, name: &str) -> Revision {
    let request = topic(name, 3);
    let started = Instant::now();
    loop {
        match link.admin().create_topics(request.clone()).await {
            Ok(response) => {
                let response = response.into_inner();
                assert_eq!(response.results[0].outcome.as_ref().unwrap().code, 0, "{response:?}");
                return Revision(response.revision);
            }
            Err(status) => assert!(started.elapsed() < WAIT, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sees to it that no image of a node goes back, for as long as the link lives.
fn never_back(link: &ControllerLink) -> tokio::task::JoinHandle<usize> {
    let mut images = link.images();
    tokio::spawn(async move {
        let (mut last, mut seen) = (Revision(0), 0);
        while images.changed().await.is_ok() {
            let image = Arc::clone(&images.borrow_and_update());
            assert!(image.revision > last, "{} after {last}", image.revision);
            (last, seen) = (image.revision, seen + 1);
        }
        seen
    })
}

fn broker_of(image: &MetadataImage) -> &highwater_proto::metadata::Node {
    image.brokers().next().unwrap()
}

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
