//! A controller as a process runs it: a candidate in the election, the active one once it wins, and the way back.

use std::sync::Arc;

use highwater_node::clock::Clock;
use highwater_node::config::NodeConfig;
use highwater_node::http::HealthCheck;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::Listener;
use highwater_proto::config::ConfigError;
use tokio::sync::watch;

use crate::service::{Controller, ControllerConfig, StartError};
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

/// Why a controller ended by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ControllerFailed(Arc<str>);

/// A running controller.
pub struct ControllerProcess {
    shutdown: Shutdown,
    failed: watch::Receiver<Option<ControllerFailed>>,
}

impl ControllerProcess {
    /// Takes part in the election from now on.
    ///
    /// # Errors
    /// If a value of the configuration cannot be read.
    pub async fn start(parts: ProcessParts<'_>) -> Result<Self, ConfigError> {
        let ProcessParts {
            config,
            store,
            advertised,
            grpc,
            clock,
            shutdown,
            metrics,
            health,
        } = parts;
        let settings = ControllerConfig::new(&advertised, config.fixed.clone(), config.session)?;
        let (failure, failed) = watch::channel(None);
        let running = shutdown.clone();
        shutdown.spawn(async move {
            health.not_ready("waiting for the leadership");
            let controller = match Controller::start(store, settings, clock, running).await {
                Ok(controller) => controller,
                Err(StartError::Asked) => return,
                Err(error) => {
                    failure.send_replace(Some(ControllerFailed(error.to_string().into())));
                    return;
                }
            };
            controller.register_metrics(&metrics);
            controller.serve(grpc);
            health.ready();
            let reason = controller.stopped().await;
            health.not_ready(reason.to_string());
            failure.send_replace(Some(ControllerFailed(reason.to_string().into())));
        });
        Ok(Self { shutdown, failed })
    }

    /// Resigns, so that another controller takes over at once, and ends.
    pub async fn stop(self) {
        self.shutdown.trigger();
        if let Err(error) = self.shutdown.finished().await {
            tracing::warn!(%error, "the controller did not end in time");
        }
    }

    /// Completes when the controller cannot go on, with the reason.
    pub async fn failed(&self) -> ControllerFailed {
        let mut failed = self.failed.clone();
        let failure = failed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|failure| failure.clone());
        failure.unwrap_or_else(|| ControllerFailed("asked to stop".into()))
    }
}
