//! The three parts of a cluster in one process, started and stopped in the order in which they need each other.

use std::sync::Arc;

use anyhow::Context as _;
use highwater_broker::process::{BrokerProcess, ProcessParts as BrokerParts};
use highwater_controller::service::{Controller, ControllerConfig};
use highwater_controller::store::EmbeddedStore;
use highwater_coordinator::process::{CoordinatorProcess, ProcessParts as CoordinatorParts};
use highwater_node::clock::Clock;
use highwater_node::config::NodeConfig;
use highwater_node::data_dir::DataDir;
use highwater_node::process::{Surroundings, bound_address, listen_for_clients};
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Dialer, MemoryNetwork};

/// Folder of the metadata store in the data directory.
const METADATA_FOLDER: &str = "metadata";
/// Names of the parts on the in-memory network.
const CONTROLLER: &str = "controller";
const BROKER: &str = "broker";
const COORDINATOR: &str = "coordinator";
/// There is one endpoint per name.
const PORT: u16 = 1;

/// Runs until SIGTERM or SIGINT, or until a part fails. Whatever has been started by then is stopped in order.
pub(crate) async fn run(config: NodeConfig) -> anyhow::Result<()> {
    let shutdown = Shutdown::new(config.shutdown_grace);
    shutdown.on_signals().context("cannot handle signals")?;
    let mut running = Running::default();
    let failure = tokio::select! {
        biased;
        () = shutdown.triggered() => None,
        failure = running.start_and_watch(&config, &shutdown) => Some(failure),
    };
    shutdown.trigger();
    running.stop().await;
    failure.map_or(Ok(()), Err)
}

/// What has been started.
#[derive(Default)]
struct Running {
    controller: Option<(Controller, Shutdown)>,
    broker: Option<BrokerProcess>,
    coordinator: Option<CoordinatorProcess>,
}

impl Running {
    /// Starts everything and says what failed, at the start or later.
    async fn start_and_watch(&mut self, config: &NodeConfig, shutdown: &Shutdown) -> anyhow::Error {
        if let Err(error) = self.start(config, shutdown).await {
            return error;
        }
        let (Some((controller, _)), Some(broker), Some(coordinator)) =
            (&self.controller, &self.broker, &self.coordinator)
        else {
            return anyhow::anyhow!("a part is missing");
        };
        tokio::select! {
            error = broker.failed() => anyhow::Error::from(error).context("the broker lost its place in the cluster"),
            error = coordinator.failed() => anyhow::Error::from(error).context("the coordinator lost its place"),
            reason = controller.stopped() => anyhow::anyhow!("the controller stopped: {reason}"),
        }
    }

    async fn start(&mut self, config: &NodeConfig, shutdown: &Shutdown) -> anyhow::Result<()> {
        let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
        let listeners = listen_for_clients(config).await?;
        let Surroundings {
            clock,
            metrics,
            health,
            calls,
        } = Surroundings::start(config, shutdown).await?;

        let network = MemoryNetwork::new();
        let dialer = Dialer::new(network.clone());
        let listen = |part| network.listen(part, PORT).map(|listener| listener.counted(&calls));
        // Each part stops by itself and in order, not at once with the others.
        let part = || Shutdown::new(config.shutdown_grace);

        let controller_shutdown = part();
        let controller = start_controller(config, &data_dir, &clock, &controller_shutdown).await?;
        let (controller, _) = self.controller.insert((controller, controller_shutdown));
        controller.register_metrics(&metrics);
        controller.serve(listen(CONTROLLER)?);
        let cluster_id = controller.image().cluster.cluster_id.clone();
        let controllers = vec![(CONTROLLER.to_owned(), PORT)];

        let addresses: Vec<_> = listeners.iter().map(bound_address).collect();
        let broker = BrokerProcess::start(BrokerParts {
            config,
            data_dir: Arc::clone(&data_dir),
            controllers: controllers.clone(),
            dialer: dialer.clone(),
            grpc: listen(BROKER)?,
            listeners,
            clock: clock.clone(),
            shutdown: part(),
            metrics: metrics.clone(),
            health: health.check(BROKER),
        });
        self.broker = Some(broker.await?);
        let coordinator = CoordinatorProcess::start(CoordinatorParts {
            config,
            cluster_id,
            controllers,
            dialer,
            grpc: listen(COORDINATOR)?,
            clock,
            shutdown: part(),
            metrics,
            health: health.check(COORDINATOR),
        });
        self.coordinator = Some(coordinator.await?);
        for (listener, address) in addresses {
            tracing::info!(listener, address, "ready for clients");
        }
        Ok(())
    }

    /// The coordinator needs the broker to hand its shards over, and both need the controller.
    async fn stop(self) {
        if let Some(coordinator) = self.coordinator {
            coordinator.stop().await;
        }
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        if let Some((_controller, shutdown)) = self.controller {
            shutdown.trigger();
            if let Err(error) = shutdown.finished().await {
                tracing::warn!(%error, "the controller did not end in time");
            }
        }
    }
}

async fn start_controller(
    config: &NodeConfig,
    data_dir: &DataDir,
    clock: &Clock,
    shutdown: &Shutdown,
) -> anyhow::Result<Controller> {
    let folder = data_dir.path().join(METADATA_FOLDER);
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder)).await?;
    let store = Arc::new(store.context("cannot open the metadata store")?);
    let mut settings = ControllerConfig::new(CONTROLLER, config.fixed.clone(), config.session)?;
    // What the store remembers as live ended with the process that wrote it.
    settings.sole_process = true;
    Controller::start(store, settings, clock.clone(), shutdown.clone())
        .await
        .context("cannot start the controller")
}
