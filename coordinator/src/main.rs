//! The binary `highwater-coordinator`: it runs consumer groups and transactions for the brokers.

use std::process::ExitCode;

use clap::Parser;
use highwater_coordinator::process::{CoordinatorProcess, ProcessParts};
use highwater_node::config::{LoadError, NodeConfig, Sources};
use highwater_node::process::{self, CONFIGURATION_HELP, CommonArgs, Part, Surroundings};
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::Dialer;
use highwater_proto::config::Profile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where brokers reach a coordinator, unless configured.
const GRPC_PORT: u16 = 9192;

const FIRST_STEPS: &str = "\
FIRST STEPS
  highwater-coordinator --controllers controller-0:9190,controller-1:9190,controller-2:9190
  curl HOST:9644/metrics                               what it does

  Coordinators keep nothing on disk: groups and offsets are in topics that brokers store. Start as many as you like; the
  controller spreads the work, and moves it when one is lost. Clients never connect here, only brokers do. Several
  processes on one machine each need their own --grpc and --http.

  SIGTERM hands its groups to other coordinators first.";

/// A coordinator of a Highwater cluster: consumer groups and transactions.
#[derive(Debug, Parser)]
#[command(
    name = "highwater-coordinator",
    version,
    after_long_help = format!("{CONFIGURATION_HELP}\n\n{FIRST_STEPS}"),
    after_help = "More with --help."
)]
struct Args {
    /// Where to find the controllers' gRPC: all of them, separated by commas
    #[arg(long, value_name = "HOST:PORT,...")]
    controllers: Option<String>,
    /// Where brokers connect [default: 0.0.0.0:9192]
    #[arg(long, value_name = "HOST:PORT")]
    grpc: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

impl Args {
    fn sources(self) -> Result<Sources, LoadError> {
        self.common.sources([
            ("controller.quorum.bootstrap.servers", self.controllers),
            ("grpc.listener", self.grpc),
        ])
    }
}

fn main() -> ExitCode {
    process::main(
        "highwater-coordinator",
        Profile::Cluster,
        Args::parse().sources(),
        |config| process::run_part(config, start),
    )
}

struct Running(CoordinatorProcess);

impl Part for Running {
    async fn failed(&self) -> anyhow::Error {
        anyhow::Error::from(self.0.failed().await).context("the coordinator lost its place in the cluster")
    }

    async fn stop(self) {
        self.0.stop().await;
    }
}

async fn start(config: NodeConfig, surroundings: Surroundings) -> anyhow::Result<Running> {
    let controllers = config.cluster.required_controllers()?;
    let grpc = surroundings.listen_for_processes(&config, GRPC_PORT).await?;
    let coordinator = CoordinatorProcess::start(ProcessParts {
        config: &config,
        // Whichever the controllers speak for: it brings no state of its own.
        cluster_id: String::new(),
        controllers,
        dialer: Dialer::tcp(),
        grpc,
        clock: surroundings.clock,
        shutdown: Shutdown::new(config.shutdown_grace),
        metrics: surroundings.metrics,
        health: surroundings.health.check("coordinator"),
    });
    let coordinator = coordinator.await?;
    tracing::info!("ready for brokers");
    Ok(Running(coordinator))
}
