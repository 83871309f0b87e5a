//! The controller as a process runs it: a thin shell around [`crate::cluster`] that holds the leadership, commits what
//! is decided, streams it, watches over sessions and speaks gRPC. One file per RPC.

mod allocate_producer_ids;
mod alter_configs;
mod alter_partitions;
mod create_partitions;
mod create_topics;
mod decider;
mod delete_topics;
mod metrics;
mod rpc;
mod session;
mod session_table;
mod updates;
mod watch_metadata;

use std::sync::Arc;
use std::time::Duration;

use highwater_node::clock::Clock;
use highwater_node::config::SessionConfig;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{self, Listener, MAX_MESSAGE_BYTES};
use highwater_proto::config::{ConfigError, StaticValues};
use highwater_proto::grpc::controller_server::ControllerServer;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::TopicId;
use tokio::sync::watch;
use uuid::Uuid;

use crate::cluster::sessions::Patience;
use crate::cluster::{Bootstrap, FORMAT_VERSION, Settings};
use crate::service::decider::{Active, Decider};
use crate::service::metrics::DecisionMetrics;
use crate::service::session_table::SessionTable;
use crate::service::updates::Updates;
use crate::store::MetadataStore;

pub use decider::{DecisionError, StopReason};
pub use rpc::ControllerService;

/// How long a node that leaves may wait until others have caught up with it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Updates that are kept for watchers that are behind. One has at most 127 changes, about 20 KiB.
const WATCH_HISTORY: usize = 512;

/// What a controller is configured with.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Its name in the election.
    pub name: String,
    /// What decisions depend on.
    pub settings: Settings,
    /// How patient it is with nodes.
    pub patience: Patience,
    /// How long a node that leaves may wait until others have caught up with it.
    pub leave_timeout: Duration,
    /// Updates that are kept for watchers; who is further behind gets a snapshot.
    pub watch_history: usize,
    /// All nodes run in this process (standalone): those that the store remembers as live ended with the process that
    /// wrote it, so nobody waits for them.
    pub sole_process: bool,
}

impl ControllerConfig {
    /// Reads it from what the process was started with.
    ///
    /// # Errors
    /// If a value cannot be read.
    pub fn new(name: &str, fixed: StaticValues, session: SessionConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            name: name.to_owned(),
            settings: Settings::new(fixed)?,
            patience: Patience {
                silence: session.timeout,
                reconnect: session.reconnect_grace,
            },
            leave_timeout: LEAVE_TIMEOUT,
            watch_history: WATCH_HISTORY,
            sole_process: false,
        })
    }
}

/// The controller could not become active.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed, or another controller took over at once.
    #[error(transparent)]
    Stopped(#[from] StopReason),
    /// The first decision failed.
    #[error("the cluster cannot be set up: {0}")]
    Bootstrap(#[from] DecisionError),
    /// The store was written by a later release.
    #[error("the metadata is of format {found}, this release knows formats up to {FORMAT_VERSION}")]
    Format {
        /// The format of the store.
        found: i32,
    },
    /// It was asked to stop before it was active.
    #[error("asked to stop")]
    Asked,
}

/// An active controller. Clones are the same one.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
}

/// What the RPCs work with.
pub(crate) struct Shared {
    pub(crate) decider: Decider,
    pub(crate) updates: Arc<Updates>,
    pub(crate) sessions: SessionTable,
    pub(crate) clock: Clock,
    pub(crate) config: ControllerConfig,
    pub(crate) shutdown: Shutdown,
    metrics: DecisionMetrics,
    stopped: watch::Sender<Option<Arc<StopReason>>>,
}

impl Controller {
    /// Waits for the leadership, loads the store, sets the cluster up if it is empty, and decides from then on, until
    /// `shutdown` is triggered or the leadership is lost (which triggers it).
    ///
    /// # Errors
    /// If the store fails or is not of this release.
    pub async fn start(
        store: Arc<dyn MetadataStore>,
        config: ControllerConfig,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let leadership = tokio::select! {
            leadership = store.campaign(&config.name) => leadership.map_err(StopReason::from)?,
            () = shutdown.triggered() => return Err(StartError::Asked),
        };
        let updates = Arc::new(Updates::new(config.watch_history));
        let settings = config.settings.clone();
        let metrics = DecisionMetrics::new();
        let (active, decider) =
            Active::load(store, leadership, settings, Arc::clone(&updates), metrics.clone()).await?;
        let found = updates.image().cluster.format_version;
        if found > FORMAT_VERSION {
            return Err(StartError::Format { found });
        }
        let sessions = SessionTable::new(config.patience);
        let stopped = watch::Sender::default();
        let shared = Arc::new(Shared {
            decider,
            updates,
            sessions,
            clock,
            config,
            shutdown,
            metrics,
            stopped,
        });
        let deciding = Arc::clone(&shared);
        shared.shutdown.spawn(async move {
            let reason = active.run(deciding.shutdown.token()).await;
            tracing::info!(%reason, "the controller decides no more");
            deciding.stopped.send_replace(Some(Arc::new(reason)));
            // Without a decider nothing here is of use: sessions and watches end, nodes look elsewhere.
            deciding.shutdown.trigger();
        });
        let cluster_id = TopicId(Uuid::new_v4()).to_string();
        shared.decider.decide(Bootstrap { cluster_id }).await?;
        session_table::expect_known_nodes(&shared);
        let watching = Arc::clone(&shared);
        shared
            .shutdown
            .spawn(async move { session_table::watch_over(&watching).await });
        let image = shared.updates.image();
        tracing::info!(cluster = image.cluster.cluster_id, revision = %image.revision, "the controller is active");
        Ok(Self { shared })
    }

    /// The gRPC service, for a server of one's own.
    #[must_use]
    pub fn service(&self) -> ControllerServer<ControllerService> {
        ControllerServer::new(ControllerService::new(Arc::clone(&self.shared)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Serves on a listener, as a task of the controller's `shutdown`, until that is triggered. Can be called for
    /// several listeners.
    pub fn serve(&self, listener: Listener) {
        let router = transport::server().add_service(self.service());
        let shutdown = self.shared.shutdown.clone();
        let address = format!("{}:{}", listener.host(), listener.port());
        self.shared.shutdown.spawn(async move {
            if let Err(error) = transport::serve(router, listener, shutdown.token(), shutdown.grace()).await {
                tracing::error!(%error, address, "the controller's server failed");
                shutdown.trigger();
            }
        });
    }

    /// Adds the controller's metrics to those of the process.
    pub fn register_metrics(&self, metrics: &Metrics) {
        metrics::register(metrics, &self.shared.metrics, &self.shared.updates);
    }

    /// The images as they come.
    #[must_use]
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.shared.updates.images()
    }

    /// The newest image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.shared.updates.image()
    }

    /// Completes when the controller decides no more, with the reason.
    pub async fn stopped(&self) -> Arc<StopReason> {
        let mut stopped = self.shared.stopped.subscribe();
        let reason = stopped
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| Arc::new(StopReason::Asked))
    }
}
