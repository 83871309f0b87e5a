//! A binary as the operating system runs it: arguments, logging, runtime, exit status, and what surrounds its parts.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use highwater_proto::config::{ConfigError, Profile};
use tokio::net::{TcpListener, TcpSocket};

use crate::clock::Clock;
use crate::config::{ListenerConfig, LoadError, NodeConfig, Sources, parse_set};
use crate::http::{Health, serve_http};
use crate::open_files;
use crate::shutdown::Shutdown;
use crate::telemetry::trace::{finish_tracing, start_tracing};
use crate::telemetry::{Metrics, init_logging, push_metrics};
use crate::transport::{CallCounts, Listener};

/// Tasks that a worker runs before it looks for news on sockets (tokio's default is 61). A turn of a connection with
/// large requests takes a millisecond, and clients that are not heard of wait for all those turns.
const EVENT_INTERVAL: u32 = 8;
/// What threads get to end in when everything has been stopped.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Exit status for a configuration that is refused.
const BAD_CONFIGURATION: u8 = 2;

/// Help on where configs come from, for the end of each binary's `--help`.
pub const CONFIGURATION_HELP: &str = "\
CONFIGURATION
  Keys are Kafka's: num.partitions, log.retention.ms, advertised.listeners, ...
  They come from three places; the first that has a key wins:
    1. flags                --set num.partitions=3
    2. the environment      HIGHWATER_NUM_PARTITIONS=3
    3. a properties file    --config server.properties
  A key that is not known, or a value that would not be obeyed, is refused at start.";

/// The flags that every binary has.
#[derive(Debug, clap::Args)]
pub struct CommonArgs {
    /// Where /livez, /readyz and /metrics are answered
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// A Java properties file; a server.properties of Kafka works
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl CommonArgs {
    /// All sources of configuration. The binary's short flags are configs under another name: key and value.
    ///
    /// # Errors
    /// When a `--set` is not `key=value`.
    pub fn sources<const N: usize>(self, short: [(&str, Option<String>); N]) -> Result<Sources, LoadError> {
        let mut flags = self
            .set
            .iter()
            .map(|text| parse_set(text))
            .collect::<Result<Vec<_>, _>>()?;
        let short = short.into_iter().chain([("http.listener", self.http)]);
        flags.extend(short.filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(Sources {
            file: self.config,
            environment: std::env::vars().collect(),
            flags,
        })
    }
}

/// Loads the configuration, sets up logging and a runtime, and runs the process in it. What goes wrong is also said on
/// standard error, and is the exit status: 2 for a configuration that is refused, else 1.
pub fn main<F, R>(name: &str, profile: Profile, sources: Result<Sources, LoadError>, run: F) -> ExitCode
where
    F: FnOnce(NodeConfig) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let config = match sources.and_then(|sources| NodeConfig::load(profile, &sources)) {
        Ok(config) => config,
        Err(error) => return fail(name, &error, BAD_CONFIGURATION),
    };
    match in_runtime(config, run) {
        Ok(()) => ExitCode::SUCCESS,
        // Some keys are needed by one binary and not by another, which finds out when it wants them.
        Err(error) if error.is::<ConfigError>() => fail(name, &error, BAD_CONFIGURATION),
        Err(error) => fail(name, &format!("{error:#}"), 1),
    }
}

fn in_runtime<F, R>(config: NodeConfig, run: F) -> anyhow::Result<()>
where
    F: FnOnce(NodeConfig) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    init_logging(&config.logging).context("cannot set up logging")?;
    open_files::raise_limit();
    for ignored in &config.ignored {
        tracing::warn!(key = ignored.key, reason = ignored.reason, "this key has no effect");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .thread_name("highwater")
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(config));
    finish_tracing();
    // What still runs is a blocking thread that nobody waits for: a recovery that was interrupted, a disk that hangs.
    runtime.shutdown_timeout(LAST_WAIT);
    outcome
}

/// Also said on standard error: the log may be filtered, or not set up yet.
fn fail(name: &str, error: &dyn std::fmt::Display, status: u8) -> ExitCode {
    // Nobody to tell if that fails too.
    let _ = writeln!(std::io::stderr(), "{name}: {error}");
    ExitCode::from(status)
}

/// One part of a cluster, started. What is started is stopped, also when the start does not come to its end.
pub trait Part {
    /// Completes when it cannot go on, with the reason.
    fn failed(&self) -> impl Future<Output = anyhow::Error>;

    /// Leaves the cluster and ends.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Runs one part until SIGTERM or SIGINT, or until it fails. `start` is dropped where it stands when a signal comes first.
///
/// # Errors
/// Why it could not start, or failed.
pub async fn run_part<P, F, R>(config: NodeConfig, start: F) -> anyhow::Result<()>
where
    P: Part,
    F: FnOnce(NodeConfig, Surroundings) -> R,
    R: Future<Output = anyhow::Result<P>>,
{
    let shutdown = Shutdown::new(config.shutdown_grace);
    shutdown.on_signals().context("cannot handle signals")?;
    let starting = async {
        let surroundings = Surroundings::start(&config, &shutdown).await?;
        start(config, surroundings).await
    };
    let part = tokio::select! {
        biased;
        () = shutdown.triggered() => return Ok(()),
        part = starting => part?,
    };
    let failure = tokio::select! {
        biased;
        () = shutdown.triggered() => None,
        failure = part.failed() => Some(failure),
    };
    // The http server stops with the process; the part stops by itself, and in order.
    part.stop().await;
    shutdown.trigger();
    failure.map_or(Ok(()), Err)
}

/// What every process has around its parts.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// Figures that are served.
    pub metrics: Metrics,
    /// Health that is served.
    pub health: Health,
    /// Counts the gRPC calls that are answered.
    pub calls: CallCounts,
}

impl Surroundings {
    /// Serves health and metrics from now on.
    ///
    /// # Errors
    /// When `http.listener` cannot be bound.
    pub async fn start(config: &NodeConfig, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let (metrics, health) = (Metrics::new(&clock), Health::new());
        let http = Listener::bind(&config.http_listener)
            .await
            .with_context(|| format!("cannot listen on http.listener={}", config.http_listener))?;
        let address = format!("{}:{}", http.host(), http.port());
        tracing::info!(address, "health and metrics are served");
        tokio::spawn(serve_http(http, health.clone(), metrics.clone(), shutdown.token()));
        let service = service_name();
        start_tracing(&config.otel, &service).context("otel.exporter.otlp.endpoint")?;
        push_metrics(&config.otel, &service, &metrics, &clock, shutdown).context("otel.exporter.otlp.endpoint")?;
        let calls = CallCounts::new(&metrics);
        Ok(Self {
            clock,
            metrics,
            health,
            calls,
        })
    }

    /// Listens for the cluster's other processes, under the address that they are told.
    ///
    /// # Errors
    /// When `grpc.listener` cannot be bound.
    pub async fn listen_for_processes(&self, config: &NodeConfig, usual_port: u16) -> anyhow::Result<Listener> {
        let grpc = &config.cluster.grpc;
        let address = grpc.bind_address(usual_port);
        let socket = listen(&address, config.broker.network.listen_backlog)
            .await
            .with_context(|| format!("cannot listen on grpc.listener={address}"))?;
        let listener = Listener::from_tcp(socket)?;
        let (host, port) = grpc.advertised(listener.port());
        tracing::info!(
            address,
            advertised = format!("{host}:{port}"),
            "the cluster's processes are served"
        );
        Ok(listener.advertised_as(&host, port).counted(&self.calls))
    }
}

/// The binary's name, by which traces and metrics are told apart.
fn service_name() -> String {
    let name = std::env::current_exe().ok();
    let name = name.as_deref().and_then(|path| path.file_stem()?.to_str());
    name.unwrap_or("highwater").to_owned()
}

/// Listens for Kafka clients, on all of `listeners`.
///
/// # Errors
/// When one cannot be bound.
pub async fn listen_for_clients(config: &NodeConfig) -> anyhow::Result<Vec<(ListenerConfig, TcpListener)>> {
    let mut bound = Vec::new();
    for listener in &config.listeners.all {
        let address = listener.bind_address();
        let socket = listen(&address, config.broker.network.listen_backlog)
            .await
            .with_context(|| format!("cannot listen on {address} (listeners={}://{address})", listener.name))?;
        bound.push((listener.clone(), socket));
    }
    Ok(bound)
}

/// Name and address of a listener, with the port that it really has.
#[must_use]
pub fn bound_address((listener, socket): &(ListenerConfig, TcpListener)) -> (String, String) {
    let address = socket
        .local_addr()
        .map_or_else(|_| listener.bind_address(), |address| address.to_string());
    (listener.name.clone(), address)
}

/// The first address that the host has and that can be bound.
async fn listen(address: &str, backlog: u32) -> std::io::Result<TcpListener> {
    let mut refused = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for candidate in tokio::net::lookup_host(address).await? {
        let socket = if candidate.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // As a server does: the port of a process that has just ended can be bound again.
        socket.set_reuseaddr(true)?;
        match socket.bind(candidate).and_then(|()| socket.listen(backlog)) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
