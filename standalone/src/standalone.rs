//! The three parts of a cluster in one process, started and stopped in the order in which they need each other.

use std::sync::Arc;

use anyhow::Context as _;
use highwater_broker::process::{BrokerProcess, ProcessParts as BrokerParts};
use highwater_controller::service::{Controller, ControllerConfig};
use highwater_controller::store::EmbeddedStore;
use highwater_coordinator::process::{CoordinatorProcess, ProcessParts as CoordinatorParts};
use highwater_node::clock::Clock;
use highwater_node::config::{ListenerConfig, NodeConfig};
use highwater_node::data_dir::DataDir;
use highwater_node::http::{Health, serve_http};
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{Dialer, Listener, MemoryNetwork};
use tokio::net::TcpListener;

/// Folder of the metadata store in the data directory.
const METADATA_FOLDER: &str = "metadata";
/// Names of the parts on the in-memory network.
const CONTROLLER: &str = "controller";
const BROKER: &str = "broker";
const COORDINATOR: &str = "coordinator";
/// There is one endpoint per name.
const PORT: u16 = 1;

/// Runs until SIGTERM or SIGINT, or until a part fails.
pub(crate) async fn run(config: NodeConfig) -> anyhow::Result<()> {
    let shutdown = Shutdown::new(config.shutdown_grace);
    shutdown.on_signals().context("cannot handle signals")?;
    let clock = Clock::system();
    let (metrics, health) = (Metrics::new(&clock), Health::new());
    let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
    let listeners = bind(&config).await?;
    let http = Listener::bind(&config.http_listener)
        .await
        .with_context(|| format!("cannot listen on http.listener={}", config.http_listener))?;
    tokio::spawn(serve_http(http, health.clone(), metrics.clone(), shutdown.token()));

    let network = MemoryNetwork::new();
    let dialer = Dialer::new(network.clone());
    // Each part stops by itself and in order, not at once with the others.
    let part = || Shutdown::new(config.shutdown_grace);

    let controller_shutdown = part();
    let controller = start_controller(&config, &data_dir, &clock, &controller_shutdown).await?;
    controller.register_metrics(&metrics);
    controller.serve(network.listen(CONTROLLER, PORT)?);
    let controllers = vec![(CONTROLLER.to_owned(), PORT)];

    let told: Vec<_> = listeners.iter().map(|(listener, _)| listener.clone()).collect();
    let broker = BrokerProcess::start(BrokerParts {
        config: &config,
        data_dir: Arc::clone(&data_dir),
        controllers: controllers.clone(),
        dialer: dialer.clone(),
        grpc: network.listen(BROKER, PORT)?,
        listeners,
        clock: clock.clone(),
        shutdown: part(),
        health: health.check(BROKER),
    })
    .await?;
    let coordinator = CoordinatorProcess::start(CoordinatorParts {
        config: &config,
        cluster_id: controller.image().cluster.cluster_id.clone(),
        controllers,
        dialer,
        grpc: network.listen(COORDINATOR, PORT)?,
        clock,
        shutdown: part(),
        metrics,
        health: health.check(COORDINATOR),
    })
    .await?;
    for listener in &told {
        tracing::info!(listener = listener.name, address = listener.bind_address(), "ready for clients");
    }

    let failure = tokio::select! {
        () = shutdown.triggered() => None,
        error = broker.failed() => Some(anyhow::Error::from(error).context("the broker lost its place in the cluster")),
        error = coordinator.failed() => Some(anyhow::Error::from(error).context("the coordinator lost its place")),
        reason = controller.stopped() => Some(anyhow::anyhow!("the controller stopped: {reason}")),
    };
    shutdown.trigger();
    coordinator.stop().await;
    broker.stop().await;
    controller_shutdown.trigger();
    if let Err(error) = controller_shutdown.finished().await {
        tracing::warn!(%error, "the controller did not end in time");
    }
    failure.map_or(Ok(()), Err)
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

async fn bind(config: &NodeConfig) -> anyhow::Result<Vec<(ListenerConfig, TcpListener)>> {
    let mut bound = Vec::new();
    for listener in &config.listeners.all {
        let address = listener.bind_address();
        let socket = TcpListener::bind(&address)
            .await
            .with_context(|| format!("cannot listen on {address} (listeners={}://{address})", listener.name))?;
        bound.push((listener.clone(), socket));
    }
    Ok(bound)
}
