//! The binary `highwater-broker`: what Kafka clients connect to.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use highwater_broker::process::{BrokerProcess, ProcessParts};
use highwater_node::config::{LoadError, NodeConfig, Sources};
use highwater_node::data_dir::DataDir;
use highwater_node::process::{
    self, CONFIGURATION_HELP, CommonArgs, Part, Surroundings, bound_address, listen_for_clients,
};
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::Dialer;
use highwater_proto::config::Profile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the cluster's other processes reach a broker, unless configured.
const GRPC_PORT: u16 = 9191;

const FIRST_STEPS: &str = "\
FIRST STEPS
  highwater-broker --controllers controller-0:9190,controller-1:9190,controller-2:9190
  kcat -b HOST:9092 -P -t greetings                    send lines from the keyboard
  kcat -b HOST:9092 -C -t greetings -o beginning       read them back
  curl HOST:9644/metrics                               what it does

  Clients are told to connect to advertised.listeners, brokers copy from each other there too; unset, it is this
  machine's name. Several brokers on one machine each need their own --data-dir, --listen, --grpc and --http.

DURABILITY
  New topics have three replicas of which two must be in sync (default.replication.factor, min.insync.replicas). With
  acks=all a record is on disk on all in-sync replicas before it is acknowledged; log.write.caching=true trades that for
  latency, as Kafka does by default.

  SIGTERM hands the partitions that it leads to other brokers first. After kill -9 or a power loss, the next start finds
  everything acknowledged.";

/// A broker of a Highwater cluster: any Kafka client can use it.
#[derive(Debug, Parser)]
#[command(
    name = "highwater-broker",
    version,
    after_long_help = format!("{CONFIGURATION_HELP}\n\n{FIRST_STEPS}"),
    after_help = "More with --help."
)]
struct Args {
    /// Where to find the controllers' gRPC: all of them, separated by commas
    #[arg(long, value_name = "HOST:PORT,...")]
    controllers: Option<String>,
    /// Where records are kept; created if missing [default: /var/lib/highwater]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where Kafka clients and other brokers connect; port 0 takes any free one [default: 0.0.0.0:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where the cluster's coordinators connect [default: 0.0.0.0:9191]
    #[arg(long, value_name = "HOST:PORT")]
    grpc: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

impl Args {
    fn sources(self) -> Result<Sources, LoadError> {
        self.common.sources([
            ("controller.quorum.bootstrap.servers", self.controllers),
            ("log.dirs", self.data_dir.map(|dir| dir.to_string_lossy().into_owned())),
            ("listeners", self.listen.map(|listen| format!("PLAINTEXT://{listen}"))),
            ("grpc.listener", self.grpc),
        ])
    }
}

fn main() -> ExitCode {
    process::main(
        "highwater-broker",
        Profile::Cluster,
        Args::parse().sources(),
        |config| process::run_part(config, start),
    )
}

struct Running(BrokerProcess);

impl Part for Running {
    async fn failed(&self) -> anyhow::Error {
        anyhow::Error::from(self.0.failed().await).context("the broker lost its place in the cluster")
    }

    async fn stop(self) {
        self.0.stop().await;
    }
}

async fn start(config: NodeConfig, surroundings: Surroundings) -> anyhow::Result<Running> {
    let controllers = config.cluster.required_controllers()?;
    let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
    let listeners = listen_for_clients(&config).await?;
    let addresses: Vec<_> = listeners.iter().map(bound_address).collect();
    let grpc = surroundings.listen_for_processes(&config, GRPC_PORT).await?;
    let broker = BrokerProcess::start(ProcessParts {
        config: &config,
        data_dir,
        controllers,
        dialer: Dialer::tcp(),
        grpc,
        listeners,
        clock: surroundings.clock,
        shutdown: Shutdown::new(config.shutdown_grace),
        metrics: surroundings.metrics,
        health: surroundings.health.check("broker"),
    });
    let broker = broker.await?;
    for (listener, address) in addresses {
        tracing::info!(listener, address, "ready for clients");
    }
    Ok(Running(broker))
}
