//! One controller, three brokers and some coordinators in this process, over TCP, each with a runtime of its own: one that
//! is dropped is as good as killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

use highwater_broker::process::{BrokerProcess, ProcessParts as BrokerParts, StartError};
use highwater_controller::process::{ControllerProcess, ProcessParts as ControllerParts};
use highwater_controller::store::EmbeddedStore;
use highwater_coordinator::process::{CoordinatorProcess, ProcessParts as CoordinatorParts};
use highwater_node::clock::Clock;
use highwater_node::config::{NodeConfig, Sources};
use highwater_node::data_dir::DataDir;
use highwater_node::http::Health;
use highwater_node::process::listen_for_clients;
use highwater_node::session::LinkError;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{Dialer, Listener};
use highwater_proto::config::Profile;
use highwater_proto::metadata::{MetadataImage, Partition};
use highwater_proto::types::{CONSUMER_OFFSETS_TOPIC, NodeId, PartitionIndex, ShardId, ShardKind};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::member::Addresses;

pub const LIMIT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
/// Threads of each part.
const WORKERS: usize = 2;

/// A part of the cluster and what it runs on.
struct Running<P> {
    part: Option<P>,
    runtime: Option<Runtime>,
}

impl<P> Running<P> {
    fn start<F: Future<Output = P>>(start: impl FnOnce() -> F) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .unwrap();
        Self {
            part: Some(runtime.block_on(start())),
            runtime: Some(runtime),
        }
    }

    /// Nothing of it runs until what this answers is dropped; the kernel keeps its connections.
    fn freeze(&self) -> Frozen {
        let begun = Arc::new(Barrier::new(WORKERS + 1));
        let thaws = (0..WORKERS).map(|_| {
            let (thaw, frozen) = mpsc::channel();
            let begun = Arc::clone(&begun);
            self.runtime.as_ref().unwrap().spawn(async move {
                begun.wait();
                // Until the other end is dropped.
                let _: Result<(), _> = frozen.recv();
            });
            thaw
        });
        let frozen = Frozen {
            _thaws: thaws.collect(),
        };
        begun.wait();
        frozen
    }

    fn part(&self) -> &P {
        self.part.as_ref().unwrap()
    }

    fn stop<F: Future<Output = ()>>(mut self, stop: impl FnOnce(P) -> F) {
        let part = self.part.take().unwrap();
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(stop(part));
        // With the last task the data directory is free.
        runtime.shutdown_timeout(GRACE);
    }
}

impl<P, E> Running<Result<P, E>> {
    /// What was started, if it was.
    fn transposed(mut self) -> Result<Running<P>, E> {
        let part = self.part.take().unwrap()?;
        Ok(Running {
            part: Some(part),
            runtime: self.runtime.take(),
        })
    }
}

impl<P> Drop for Running<P> {
    /// Everything ends where it stands.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A part whose threads stand still, as after SIGSTOP; they go on when this is dropped.
pub struct Frozen {
    _thaws: Vec<mpsc::Sender<()>>,
}

pub struct Cluster {
    controller: Running<ControllerProcess>,
    controllers: Vec<(String, u16)>,
    brokers: BTreeMap<i32, (Running<BrokerProcess>, SocketAddr)>,
    coordinators: BTreeMap<NodeId, Running<CoordinatorProcess>>,
    /// Of the brokers that run.
    pub addresses: Addresses,
    dir: TempDir,
}

fn config(more: &[(&str, String)]) -> NodeConfig {
    let common = [
        ("listeners", "PLAINTEXT://127.0.0.1:0".to_owned()),
        ("offsets.topic.num.partitions", "10".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("node.session.timeout.ms", "2000".to_owned()),
    ];
    let flags = common.iter().chain(more);
    let sources = Sources {
        flags: flags.map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        ..Sources::default()
    };
    NodeConfig::load(Profile::Cluster, &sources).unwrap()
}

impl Cluster {
    /// With brokers 1, 2 and 3.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metadata = dir.path().join("metadata");
        let mut port = 0;
        let controller = Running::start(async || {
            let grpc = Listener::bind("127.0.0.1:0").await.unwrap();
            port = grpc.port();
            let clock = Clock::system();
            let parts = ControllerParts {
                config: &config(&[]),
                store: Arc::new(EmbeddedStore::open(&metadata).unwrap()),
                advertised: format!("127.0.0.1:{port}"),
                grpc,
                metrics: Metrics::new(&clock),
                clock,
                shutdown: Shutdown::new(GRACE),
                health: Health::new().check("controller"),
            };
            ControllerProcess::start(parts).await.unwrap()
        });
        let mut cluster = Self {
            controller,
            controllers: vec![("127.0.0.1".to_owned(), port)],
            brokers: BTreeMap::new(),
            coordinators: BTreeMap::new(),
            addresses: Addresses::default(),
            dir,
        };
        (1..=3).for_each(|id| cluster.start_broker(id));
        cluster
    }

    pub fn start_broker(&mut self, id: i32) {
        self.try_start_broker(id, "first").unwrap();
    }

    /// Where a broker keeps its data.
    pub fn data_dir(&self, id: i32) -> PathBuf {
        self.dir.path().join(format!("broker-{id}"))
    }

    /// A broker in this pod.
    pub fn try_start_broker(&mut self, id: i32, pod: &str) -> Result<(), StartError> {
        let data_dir = self.data_dir(id);
        let controllers = self.controllers.clone();
        let mut address = None;
        let broker = Running::start(async || {
            let config = config(&[("node.id", id.to_string()), ("pod.uid", format!("{pod}-{id}"))]);
            let listeners = listen_for_clients(&config).await.unwrap();
            address = Some(listeners[0].1.local_addr().unwrap());
            let clock = Clock::system();
            let parts = BrokerParts {
                config: &config,
                data_dir: Arc::new(DataDir::open(&data_dir).unwrap()),
                controllers,
                dialer: Dialer::tcp(),
                grpc: Listener::bind("127.0.0.1:0").await.unwrap(),
                listeners,
                metrics: Metrics::new(&clock),
                clock,
                shutdown: Shutdown::new(GRACE),
                health: Health::new().check("broker"),
            };
            BrokerProcess::start(parts).await
        });
        let broker = broker.transposed()?;
        self.brokers.insert(id, (broker, address.unwrap()));
        self.publish_addresses();
        Ok(())
    }

    /// Waits until the controller wants nothing more to do with a broker, which then ends.
    pub fn wait_until_broker_failed(&mut self, id: i32) -> LinkError {
        let (broker, _) = self.brokers.remove(&id).unwrap();
        self.publish_addresses();
        let runtime = broker.runtime.as_ref().unwrap();
        let failed = runtime.block_on(async { tokio::time::timeout(LIMIT, broker.part().failed()).await });
        broker.stop(BrokerProcess::stop);
        failed.unwrap()
    }

    /// `HOST:PORT` of the controller.
    pub fn controller_address(&self) -> (String, u16) {
        self.controllers[0].clone()
    }

    fn publish_addresses(&self) {
        *self.addresses.lock().unwrap() = self.brokers.values().map(|(_, address)| *address).collect();
    }

    pub fn stop_broker(&mut self, id: i32) {
        let (broker, _) = self.brokers.remove(&id).unwrap();
        self.publish_addresses();
        broker.stop(BrokerProcess::stop);
    }

    pub fn kill_broker(&mut self, id: i32) {
        drop(self.brokers.remove(&id).unwrap());
        self.publish_addresses();
    }

    pub fn start_coordinator(&mut self) -> NodeId {
        let controllers = self.controllers.clone();
        let coordinator = Running::start(async || {
            let clock = Clock::system();
            let parts = CoordinatorParts {
                config: &config(&[]),
                cluster_id: String::new(),
                controllers,
                dialer: Dialer::tcp(),
                grpc: Listener::bind("127.0.0.1:0").await.unwrap(),
                metrics: Metrics::new(&clock),
                clock,
                shutdown: Shutdown::new(GRACE),
                health: Health::new().check("coordinator"),
            };
            CoordinatorProcess::start(parts).await.unwrap()
        });
        let id = coordinator.part().node_id().unwrap();
        self.coordinators.insert(id, coordinator);
        id
    }

    pub fn stop_coordinator(&mut self, id: NodeId) {
        let coordinator = self.coordinators.remove(&id).unwrap();
        coordinator.stop(CoordinatorProcess::stop);
    }

    pub fn kill_coordinator(&mut self, id: NodeId) {
        drop(self.coordinators.remove(&id).unwrap());
    }

    pub fn freeze_broker(&self, id: NodeId) -> Frozen {
        self.brokers[&id.get()].0.freeze()
    }

    pub fn freeze_coordinator(&self, id: NodeId) -> Frozen {
        self.coordinators[&id].freeze()
    }

    /// The address of a broker other than this one.
    pub fn other_address(&self, id: NodeId) -> SocketAddr {
        let mut others = self.brokers.iter().filter(|(other, _)| **other != id.get());
        others.next().unwrap().1.1
    }

    /// The shard of a group, with its owner and the leader of its partition.
    pub fn shard_of(&self, group: &str) -> (ShardId, Option<NodeId>, Option<NodeId>) {
        // Java's String.hashCode
        let hash = group
            .bytes()
            .fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
        let partitions = self.shard_partitions();
        let index = hash.unsigned_abs() as usize % partitions.len();
        let shard = ShardId {
            kind: ShardKind::Group,
            index: PartitionIndex(index as i32),
        };
        let owner = self.image().shards.get(&shard).and_then(|it| it.owner);
        (shard, owner, partitions[index].leader)
    }

    pub fn image(&self) -> Arc<MetadataImage> {
        self.controller.part().image()
    }

    /// How many shards a coordinator owns.
    pub fn load(&self, coordinator: NodeId) -> usize {
        let image = self.image();
        let shards = image.shards.values();
        shards
            .filter(|assignment| assignment.owner == Some(coordinator))
            .count()
    }

    pub fn wait_for_load(&self, coordinator: NodeId, shards: usize) {
        self.wait_until(|| self.load(coordinator) == shards);
    }

    /// True if a broker leads partitions of `__consumer_offsets`.
    pub fn leads_shards(&self, broker: i32) -> bool {
        self.shard_partitions()
            .iter()
            .any(|it| it.leader == Some(NodeId(broker)))
    }

    pub fn wait_for_leaders_without(&self, broker: i32) {
        let elsewhere = |it: &Partition| it.leader.is_some_and(|leader| leader != NodeId(broker));
        self.wait_until(|| self.shard_partitions().iter().all(|it| elsewhere(it)));
    }

    pub fn wait_for_full_isr(&self) {
        self.wait_until(|| self.shard_partitions().iter().all(|it| it.isr.len() == 3));
    }

    fn shard_partitions(&self) -> Vec<Arc<Partition>> {
        self.image().topic(CONSUMER_OFFSETS_TOPIC).unwrap().partitions.clone()
    }

    pub fn wait_until(&self, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !reached() {
            let image = self.image();
            assert!(
                Instant::now() < deadline,
                "{:?} {:?}",
                image.shards,
                self.shard_partitions()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
