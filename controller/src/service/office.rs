//! What a controller has while it leads and while it stands by: the metadata that it shows, and its role.

use std::sync::{Arc, OnceLock};

use highwater_node::clock::Clock;
use highwater_node::http::HealthCheck;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{self, Listener, MAX_MESSAGE_BYTES};
use highwater_proto::grpc::controller_server::ControllerServer;
use highwater_proto::types::TopicId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cluster::{Bootstrap, FORMAT_VERSION};
use crate::service::active::{Active, ActiveParts, StopReason};
use crate::service::admin;
use crate::service::balancer;
use crate::service::decider::Decider;
use crate::service::metrics::DecisionMetrics;
use crate::service::replica_sizes::SizeBook;
use crate::service::session_table::{self, SessionTable};
use crate::service::updates::Updates;
use crate::service::view::StoreView;
use crate::service::{ControllerConfig, ControllerService, Shared, StartError, hand_over_shards};
use crate::store::{Leadership, MetadataStore};

/// What a controller is at present.
#[derive(Clone)]
pub(crate) enum Role {
    /// Another one decides, at this address (host:port), if that is known.
    Standby(Option<String>),
    /// This one decides.
    Active(Arc<Shared>),
}

/// A controller process, whatever its role.
pub(crate) struct Office {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) role: watch::Sender<Role>,
    pub(crate) metrics: DecisionMetrics,
    pub(crate) config: ControllerConfig,
    pub(crate) clock: Clock,
    /// Of the process.
    pub(crate) shutdown: Shutdown,
    /// Told how it stands with the store.
    pub(crate) health: Option<HealthCheck>,
}

/// One time of leading.
pub(crate) struct Term {
    shared: Arc<Shared>,
    active: JoinHandle<(StoreView, StopReason)>,
}

impl Office {
    /// A standby without metadata.
    pub(crate) fn new(
        store: Arc<dyn MetadataStore>,
        config: ControllerConfig,
        clock: Clock,
        shutdown: Shutdown,
        health: Option<HealthCheck>,
    ) -> Self {
        Self {
            store,
            updates: Arc::new(Updates::new(config.watch_history)),
            role: watch::Sender::new(Role::Standby(None)),
            metrics: DecisionMetrics::new(),
            config,
            clock,
            shutdown,
            health,
        }
    }

    /// Decides from now on, from a view that has everything that was committed before the leadership began. Nodes
    /// that the image knows as live get a full timeout to come.
    pub(crate) async fn lead(self: &Arc<Self>, leadership: Leadership, view: StoreView) -> Result<Term, StartError> {
        let found = view.image().cluster.format_version;
        if found > FORMAT_VERSION {
            return Err(StartError::Format { found });
        }
        let (decider, jobs) = Decider::new();
        let shutdown = self.shutdown.child();
        let lost = leadership.lost().clone();
        let active = Active::new(ActiveParts {
            store: Arc::clone(&self.store),
            leadership,
            settings: self.config.settings.clone(),
            view,
            updates: Arc::clone(&self.updates),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            jobs,
        });
        let shared = Arc::new(Shared {
            decider,
            updates: Arc::clone(&self.updates),
            sessions: SessionTable::new(self.config.patience),
            sizes: SizeBook::default(),
            clock: self.clock.clone(),
            config: self.config.clone(),
            shutdown,
            behind: OnceLock::new(),
        });
        let (ends, office) = (Arc::clone(&shared), Arc::clone(self));
        let active = shared.shutdown.spawn(async move {
            let stop = ends.shutdown.token();
            let ended = active.run(stop).await;
            // At once: sessions end, and nobody is answered any more.
            office.step_down(&ends);
            tracing::info!(reason = %ended.reason, "the controller decides no more");
            if let Some(leadership) = ended.leadership {
                office.store.resign(leadership).await;
            }
            (ended.view, ended.reason)
        });
        // Not only when the decider comes to look: it may be waiting for the store.
        let (ends, office) = (Arc::clone(&shared), Arc::clone(self));
        shared.shutdown.spawn(async move {
            tokio::select! {
                () = lost.cancelled() => office.step_down(&ends),
                () = ends.shutdown.triggered() => {}
            }
        });
        let term = Term { shared, active };
        let shared = &term.shared;
        let cluster_id = TopicId(Uuid::new_v4()).to_string();
        if let Err(error) = shared.decider.decide(Bootstrap { cluster_id }).await {
            shared.shutdown.trigger();
            let (_, reason) = term.ended().await;
            return Err(match reason {
                StopReason::Asked => StartError::Bootstrap(error),
                reason => StartError::Stopped(reason),
            });
        }
        session_table::expect_known_nodes(shared);
        balancer::start(shared);
        let watching = Arc::clone(shared);
        shared
            .shutdown
            .spawn(async move { session_table::watch_over(&watching).await });
        let watching = Arc::clone(shared);
        shared
            .shutdown
            .spawn(async move { hand_over_shards::watch_over(&watching).await });
        let image = self.updates.image();
        tracing::info!(cluster = image.cluster.cluster_id, revision = %image.revision, "the controller is active");
        self.role.send_replace(Role::Active(Arc::clone(shared)));
        if shared.shutdown.is_triggered() {
            // It was over before it began.
            self.step_down(shared);
        }
        Ok(term)
    }

    fn step_down(&self, shared: &Arc<Shared>) {
        shared.shutdown.trigger();
        self.role.send_if_modified(|role| {
            let leads = matches!(role, Role::Active(active) if Arc::ptr_eq(active, shared));
            if leads {
                *role = Role::Standby(None);
            }
            leads
        });
    }

    /// The gRPC service.
    pub(crate) fn service(self: &Arc<Self>) -> ControllerServer<ControllerService> {
        ControllerServer::new(ControllerService::new(Arc::clone(self)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Serves on a listener until the process stops.
    pub(crate) fn serve(self: &Arc<Self>, listener: Listener) {
        let router = transport::server()
            .add_service(self.service())
            .add_service(admin::server(self));
        let shutdown = self.shutdown.clone();
        let address = format!("{}:{}", listener.host(), listener.port());
        self.shutdown.spawn(async move {
            if let Err(error) = transport::serve(router, listener, shutdown.token(), shutdown.grace()).await {
                tracing::error!(%error, address, "the controller's server failed");
                shutdown.trigger();
            }
        });
    }
}

impl Term {
    /// Waits until it is over and everything of it has ended. Answers what was known of the store.
    pub(crate) async fn ended(self) -> (StoreView, StopReason) {
        let ended = self.active.await;
        self.shared.shutdown.trigger();
        if let Err(error) = self.shared.shutdown.finished().await {
            tracing::warn!(%error, "an active controller did not end in time");
        }
        let (view, reason) =
            ended.unwrap_or_else(|error| (StoreView::default(), StopReason::Failed(error.to_string())));
        match self.shared.behind.get() {
            Some(behind) => (view, StopReason::Behind(behind.clone())),
            None => (view, reason),
        }
    }
}
