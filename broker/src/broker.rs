//! The broker as a whole: what all requests share, and what goes on besides requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use highwater_node::clock::Clock;
use highwater_node::open_files::OpenFiles;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Channel, Dialer};
use highwater_proto::config::{BrokerConfig, StaticValues};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::metadata::{DiskPressure, MetadataImage};
use highwater_proto::types::{BrokerEpoch, NodeId, Revision};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::alter_partitions;
use crate::connection::BUDGET_UNIT_BYTES;
use crate::creating::Creating;
use crate::disk_limit::{self, DiskGauge};
use crate::fetch_session::FetchSessions;
use crate::fetcher::Fetchers;
use crate::forward::Forwarder;
use crate::housekeeping;
use crate::internal_topics::InternalTopics;
use crate::listener::{self, ConnectionCounts};
use crate::log::LogError;
use crate::metrics::Metrics;
use crate::partitions::{Partitions, RecoveredLogs};
use crate::producer_ids::ProducerIds;
use crate::throttle::Throttles;

/// Least budget of request memory; large enough for the largest request twice.
const MIN_REQUEST_MEMORY_BYTES: usize = 256 << 20;
/// Blocking threads that read from disk for connections at a time.
const MAX_COLD_READS: usize = 16;
/// Blocking threads that append at a time: those of a stalled disk wait in line.
const MAX_SLOW_APPENDS: usize = 8;

/// Gives clients of the controller that this broker's session is with.
pub type ControllerSource = Box<dyn Fn() -> ControllerClient<Channel> + Send + Sync>;

/// What a broker is made of, once it is registered.
pub struct BrokerParts {
    /// Its `node.id`.
    pub node_id: NodeId,
    /// Revision of its registration.
    pub epoch: BrokerEpoch,
    /// What it obeys.
    pub config: BrokerConfig,
    /// What the process was started with: the lowest layer of all configs.
    pub fixed: StaticValues,
    /// Name of the listener on which brokers copy from each other (`inter.broker.listener.name`).
    pub inter_broker_listener: String,
    /// Its logs.
    pub recovered: RecoveredLogs,
    /// The images to follow.
    pub images: watch::Receiver<Arc<MetadataImage>>,
    /// Whom to ask for decisions.
    pub controller: ControllerSource,
    /// Reaches the coordinators.
    pub dialer: Dialer,
    /// The time.
    pub clock: Clock,
    /// The wish to stop. Connections and background tasks are its tasks.
    pub shutdown: Shutdown,
}

/// Bounds of what clients may take.
#[derive(Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`
    pub max_request_bytes: usize,
    /// `max.connections`, or fewer: the storage needs file handles too.
    pub max_connections: usize,
    /// `connections.max.idle.ms`
    pub max_idle: Option<Duration>,
    /// `fetch.max.bytes`
    pub max_fetch_bytes: u64,
    /// Memory for large requests, in units of [`BUDGET_UNIT_BYTES`].
    pub(crate) request_memory: Arc<Semaphore>,
    request_memory_units: usize,
    /// Bounds the blocking threads that read cold data.
    pub(crate) cold_reads: Arc<Semaphore>,
    /// Bounds the blocking threads that append.
    pub(crate) slow_appends: Arc<Semaphore>,
}

impl Limits {
    fn new(config: &BrokerConfig) -> Self {
        let network = &config.network;
        let chosen = MIN_REQUEST_MEMORY_BYTES.max(2 * network.request_max_bytes);
        let units = network.queued_max_request_bytes.unwrap_or(chosen) / BUDGET_UNIT_BYTES;
        Self {
            max_request_bytes: network.request_max_bytes,
            max_connections: network.max_connections.min(OpenFiles::of_process().connections),
            max_idle: network.connections_max_idle,
            max_fetch_bytes: network.fetch_max_bytes as u64,
            request_memory: Arc::new(Semaphore::new(units)),
            request_memory_units: units,
            cold_reads: Arc::new(Semaphore::new(MAX_COLD_READS)),
            slow_appends: Arc::new(Semaphore::new(MAX_SLOW_APPENDS)),
        }
    }

    /// True while less than a quarter of the request memory is free.
    pub(crate) fn request_memory_is_short(&self) -> bool {
        self.request_memory.available_permits() < self.request_memory_units / 4
    }
}

/// A broker.
pub struct Broker {
    node_id: NodeId,
    epoch: BrokerEpoch,
    config: BrokerConfig,
    fixed: StaticValues,
    partitions: Arc<Partitions>,
    fetch_sessions: FetchSessions,
    fetchers: Fetchers,
    throttles: Throttles,
    inter_broker_listener: Arc<str>,
    controller: ControllerSource,
    forwarder: Forwarder,
    internal_topics: InternalTopics,
    creating: Creating,
    producer_ids: ProducerIds,
    limits: Limits,
    disk: DiskGauge,
    /// The worst pressure on the disk of any live broker.
    cluster_disk: AtomicU8,
    connections: Arc<ConnectionCounts>,
    metrics: Metrics,
    clock: Clock,
    shutdown: Shutdown,
    /// Revision of the image that has been carried out.
    applied: watch::Sender<Revision>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("node_id", &self.node_id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts to follow the images. Serve clients once [`Self::wait_for_image`] says that the registration is applied.
    ///
    /// # Errors
    /// [`LogError`] if the operating system gives no threads for flushing.
    pub fn start(parts: BrokerParts) -> Result<Arc<Self>, LogError> {
        let BrokerParts {
            node_id,
            epoch,
            config,
            fixed,
            inter_broker_listener,
            recovered,
            images,
            controller,
            dialer,
            clock,
            shutdown,
        } = parts;
        let partitions = Partitions::new(node_id, fixed.clone(), clock.clone(), recovered)?;
        let broker = Arc::new(Self {
            node_id,
            epoch,
            fetch_sessions: FetchSessions::new(config.network.fetch_session_slots),
            fetchers: Fetchers::default(),
            throttles: Throttles::new(node_id),
            inter_broker_listener: inter_broker_listener.into(),
            limits: Limits::new(&config),
            disk: DiskGauge::new(config.disk_soft_free_bytes, config.disk_soft_free_percent),
            config,
            fixed,
            partitions,
            controller,
            forwarder: Forwarder::new(dialer),
            internal_topics: InternalTopics::default(),
            creating: Creating::default(),
            producer_ids: ProducerIds::default(),
            cluster_disk: AtomicU8::new(0),
            connections: Arc::default(),
            metrics: Metrics::default(),
            clock,
            shutdown,
            applied: watch::Sender::default(),
        });
        alter_partitions::start(&broker);
        housekeeping::start(&broker, images);
        Ok(broker)
    }

    /// Serves the clients of a listener until the broker stops.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, name: &str) {
        listener::serve(Arc::clone(self), listener, name.into()).await;
    }

    /// Closes all logs so that the next start needs no scan. To be called when all tasks of the shutdown are done; nothing
    /// is served afterwards.
    ///
    /// # Errors
    /// [`LogError`]: the next start then scans.
    pub async fn close(&self) -> Result<(), LogError> {
        let partitions = Arc::clone(&self.partitions);
        match tokio::task::spawn_blocking(move || partitions.close_clean()).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "the logs were not closed; the next start recovers them");
                Ok(())
            }
        }
    }

    /// Its `node.id`.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Revision of its registration.
    #[must_use]
    pub fn epoch(&self) -> BrokerEpoch {
        self.epoch
    }

    /// What it obeys.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// What holds replication back.
    #[must_use]
    pub fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// What the process was started with.
    #[must_use]
    pub fn static_values(&self) -> &StaticValues {
        &self.fixed
    }

    /// The image that the partitions of this broker follow: what it says has been carried out here.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.partitions.image()
    }

    /// Waits until an image at or past `revision` has been carried out, or until the deadline.
    pub async fn wait_for_image(&self, revision: Revision, deadline: Instant) {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= revision);
        // At the deadline the caller looks at the image and decides for itself.
        let _ = tokio::time::timeout_at(deadline, reached).await;
    }

    pub(crate) fn image_applied(&self, revision: Revision) {
        let image = self.image();
        self.forwarder.image_changed(&image);
        let live = image.nodes.values().filter(|node| node.is_live());
        let worst = live.map(|node| node.disk.pressure).max().unwrap_or_default();
        self.cluster_disk.store(disk_limit::encode(worst), Ordering::Relaxed);
        self.applied.send_replace(revision);
    }

    /// The partitions.
    #[must_use]
    pub fn partitions(&self) -> &Arc<Partitions> {
        &self.partitions
    }

    /// The fetch sessions.
    #[must_use]
    pub fn fetch_sessions(&self) -> &FetchSessions {
        &self.fetch_sessions
    }

    /// The fetchers: what this broker copies from others.
    #[must_use]
    pub fn fetchers(&self) -> &Fetchers {
        &self.fetchers
    }

    /// Name of the listener on which brokers copy from each other.
    #[must_use]
    pub fn inter_broker_listener(&self) -> &Arc<str> {
        &self.inter_broker_listener
    }

    /// The way to the coordinators.
    #[must_use]
    pub(crate) fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// Internal topics that are being created.
    #[must_use]
    pub(crate) fn internal_topics(&self) -> &InternalTopics {
        &self.internal_topics
    }

    /// Topics that are being created because a client asked for them.
    #[must_use]
    pub(crate) fn creating(&self) -> &Creating {
        &self.creating
    }

    /// Ids for idempotent producers.
    #[must_use]
    pub(crate) fn producer_ids(&self) -> &ProducerIds {
        &self.producer_ids
    }

    /// A client of the active controller.
    #[must_use]
    pub fn controller(&self) -> ControllerClient<Channel> {
        (self.controller)()
    }

    /// Bounds of what clients may take.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How much room there is on the disk.
    #[must_use]
    pub fn disk(&self) -> &DiskGauge {
        &self.disk
    }

    /// The worst pressure on the disk of any live broker, by the image.
    pub(crate) fn cluster_disk_pressure(&self) -> DiskPressure {
        disk_limit::decode(self.cluster_disk.load(Ordering::Relaxed))
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The wish to stop.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub(crate) fn connections(&self) -> &Arc<ConnectionCounts> {
        &self.connections
    }
}
