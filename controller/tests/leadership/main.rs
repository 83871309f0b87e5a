//! Several controllers over one store: who leads, who stands by, and what nodes notice of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod store;
mod take_over;

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
        // What is waited for tells nobody: it is looked at again.
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
                pod_uid: None,
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
        // Nobody leads yet: the next try finds out.
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
