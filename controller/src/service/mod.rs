//! The controller as a process runs it: a thin shell around [`crate::cluster`] that holds the leadership, commits what
//! is decided, streams it, watches over sessions and speaks gRPC. One file per RPC.

pub(crate) mod active;
mod admin;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_partitions;
mod balancer;
pub(crate) mod commits;
mod create_partitions;
mod create_topics;
mod decider;
mod delete_topics;
mod elect_leaders;
mod hand_over;
mod hand_over_shards;
pub(crate) mod metrics;
pub(crate) mod office;
mod questions;
mod registrations;
pub(crate) mod replica_sizes;
mod restored;
mod rpc;
mod session;
mod session_table;
mod stalled_nodes;
mod unclean_elections;
mod unregister_broker;
pub(crate) mod updates;
pub(crate) mod view;
mod watch_metadata;

use std::sync::{Arc, OnceLock};

use highwater_node::clock::Clock;
use highwater_node::config::SessionConfig;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::Listener;
use highwater_proto::config::{ConfigError, StaticValues};
use highwater_proto::grpc::controller_server::ControllerServer;
use highwater_proto::metadata::MetadataImage;
use tokio::sync::watch;

use crate::cluster::sessions::Patience;
use crate::cluster::{FORMAT_VERSION, Settings};
use crate::service::decider::Decider;
use crate::service::office::Office;
use crate::service::replica_sizes::SizeBook;
use crate::service::session_table::SessionTable;
use crate::service::updates::Updates;
use crate::service::view::StoreView;
use crate::store::MetadataStore;

pub use active::StopReason;
pub use decider::DecisionError;
pub use rpc::ControllerService;
pub use view::StoreBehind;

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

/// What the RPCs of an active controller work with: one for each time that it leads.
pub(crate) struct Shared {
    pub(crate) decider: Decider,
    pub(crate) updates: Arc<Updates>,
    pub(crate) sessions: SessionTable,
    pub(crate) sizes: SizeBook,
    pub(crate) clock: Clock,
    pub(crate) config: ControllerConfig,
    /// Triggered when it leads no more.
    pub(crate) shutdown: Shutdown,
    /// Set when a node has seen more than the store has.
    pub(crate) behind: OnceLock<StoreBehind>,
}

/// An active controller, for processes that have no other. Clones are the same one.
#[derive(Clone)]
pub struct Controller {
    office: Arc<Office>,
    stopped: watch::Receiver<Option<StopReason>>,
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
        let office = Arc::new(Office::new(store, config, clock, shutdown, None));
        let loaded = office.store.load().await.map_err(StopReason::from)?;
        let view = StoreView::of(loaded).map_err(StopReason::from)?;
        office.updates.restart(view.image());
        let term = office.lead(leadership, view).await?;
        let (stop, stopped) = watch::channel(None);
        let ending = Arc::clone(&office);
        office.shutdown.spawn(async move {
            let (_, reason) = term.ended().await;
            stop.send_replace(Some(reason));
            // Without a decider nothing here is of use: watches end, nodes look elsewhere.
            ending.shutdown.trigger();
        });
        Ok(Self { office, stopped })
    }

    /// The gRPC service, for a server of one's own.
    #[must_use]
    pub fn service(&self) -> ControllerServer<ControllerService> {
        self.office.service()
    }

    /// Serves on a listener, as a task of the controller's `shutdown`, until that is triggered. Can be called for
    /// several listeners.
    pub fn serve(&self, listener: Listener) {
        self.office.serve(listener);
    }

    /// Adds the controller's metrics to those of the process.
    pub fn register_metrics(&self, metrics: &Metrics) {
        metrics::register(metrics, &self.office);
    }

    /// The images as they come.
    #[must_use]
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.office.updates.images()
    }

    /// The newest image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.office.updates.image()
    }

    /// Completes when the controller decides no more, with the reason.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await.ok();
        reason.and_then(|reason| reason.clone()).unwrap_or(StopReason::Asked)
    }
}
