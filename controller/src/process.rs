//! A controller as a process runs it: a candidate in the election, the active one once it wins, and the way back.

use std::sync::Arc;

use highwater_node::clock::Clock;
use highwater_node::config::NodeConfig;
use highwater_node::http::HealthCheck;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::Listener;
use highwater_proto::config::ConfigError;
use highwater_proto::metadata::MetadataImage;
use tokio::sync::watch;

use crate::leadership;
use crate::service::office::{Office, Role};
use crate::service::{ControllerConfig, StartError, metrics};
use crate::store::MetadataStore;

/// What a controller process is given.
pub struct ProcessParts<'a> {
    /// Its configuration.
    pub config: &'a NodeConfig,
    /// Where the cluster's metadata is kept.
    pub store: Arc<dyn MetadataStore>,
    /// Where nodes and other controllers reach it: host:port. Its name in the election.
    pub advertised: String,
    /// Where it serves.
    pub grpc: Listener,
    /// The time.
    pub clock: Clock,
    /// The wish to stop.
    pub shutdown: Shutdown,
    /// Where its figures go.
    pub metrics: Metrics,
    /// Says whether it serves.
    pub health: HealthCheck,
}

/// A running controller.
pub struct ControllerProcess {
    office: Arc<Office>,
    failed: watch::Receiver<Option<Arc<StartError>>>,
}

impl ControllerProcess {
    /// Takes part in the election from now on, and serves: what only the active controller can do is refused with its
    /// name while another one is that.
    ///
    /// # Errors
    /// If a value of the configuration cannot be read.
    pub async fn start(parts: ProcessParts<'_>) -> Result<Self, ConfigError> {
        let settings = ControllerConfig::new(&parts.advertised, parts.config.fixed.clone(), parts.config.session)?;
        parts.health.not_ready("reading the metadata");
        let office = Office::new(parts.store, settings, parts.clock, parts.shutdown, Some(parts.health));
        let office = Arc::new(office);
        metrics::register(&parts.metrics, &office);
        office.serve(parts.grpc);
        let (failure, failed) = watch::channel(None);
        let running = Arc::clone(&office);
        office.shutdown.spawn(async move {
            if let Err(error) = leadership::run(&running).await {
                if let Some(health) = &running.health {
                    health.not_ready(error.to_string());
                }
                failure.send_replace(Some(Arc::new(error)));
            }
        });
        Ok(Self { office, failed })
    }

    /// The newest image that this controller knows.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.office.updates.image()
    }

    /// True while this is the controller that decides.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(*self.office.role.borrow(), Role::Active(_))
    }

    /// Resigns, so that another controller takes over at once, and ends.
    pub async fn stop(self) {
        self.office.shutdown.trigger();
        if let Err(error) = self.office.shutdown.finished().await {
            tracing::warn!(%error, "the controller did not end in time");
        }
    }

    /// Completes when the controller cannot go on, with the reason.
    pub async fn failed(&self) -> Arc<StartError> {
        let mut failed = self.failed.clone();
        let failure = failed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|failure| failure.clone());
        match failure {
            Some(error) => error,
            // It was asked to stop.
            None => std::future::pending().await,
        }
    }
}
