//! The binary `highwater-controller`: it decides for the cluster, and is the only one that talks to etcd.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use highwater_controller::process::{ControllerProcess, ProcessParts};
use highwater_controller::restore::Restored;
use highwater_controller::store::{EmbeddedStore, EtcdStore, MetadataStore};
use highwater_node::config::{LoadError, NodeConfig, Sources};
use highwater_node::data_dir::DataDir;
use highwater_node::process::{self, CONFIGURATION_HELP, CommonArgs, Part, Surroundings};
use highwater_node::shutdown::Shutdown;
use highwater_proto::config::Profile;
use highwater_proto::types::Revision;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the cluster's other processes reach a controller, unless configured.
const GRPC_PORT: u16 = 9190;
/// Folder of the embedded store in the data directory.
const METADATA_FOLDER: &str = "metadata";

const FIRST_STEPS: &str = "\
FIRST STEPS
  highwater-controller --etcd etcd-0:2379,etcd-1:2379,etcd-2:2379
  curl HOST:9644/readyz                                whether it can take over, or decides

  Start three for a cluster: one of them decides, the others stand by and take over when it is lost. Brokers and
  coordinators are given the addresses of all. Without --etcd there can be only one, which keeps the cluster's metadata
  in its --data-dir. Several processes on one machine each need their own --grpc and --http.

  SIGTERM lets another controller take over first.";

/// A controller of a Highwater cluster: topics, leaders and who is alive.
#[derive(Debug, Parser)]
#[command(
    name = "highwater-controller",
    version,
    after_long_help = format!("{CONFIGURATION_HELP}\n\n{FIRST_STEPS}"),
    after_help = "More with --help."
)]
struct Args {
    /// Where to find etcd, separated by commas; without it this is the only controller, with a store of its own
    #[arg(long, value_name = "HOST:PORT,...")]
    etcd: Option<String>,
    /// Where the store is kept when there is no etcd; created if missing [default: /var/lib/highwater]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where brokers, coordinators and other controllers connect [default: 0.0.0.0:9190]
    #[arg(long, value_name = "HOST:PORT")]
    grpc: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do instead of running a controller.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum Command {
    /// Lets the cluster go on from a store that was restored from a backup; the options stand before it.
    ///
    /// Run it once after the restore, with no controller active. Controllers that notice an older store decide nothing,
    /// and say in /readyz and in their log which revision was seen.
    Restore {
        /// The highest revision that any node or controller has seen
        #[arg(long, value_name = "REVISION")]
        seen_revision: i64,
    },
}

impl Args {
    fn sources(self) -> Result<Sources, LoadError> {
        self.common.sources([
            ("etcd.endpoints", self.etcd),
            ("log.dirs", self.data_dir.map(|dir| dir.to_string_lossy().into_owned())),
            ("grpc.listener", self.grpc),
        ])
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let command = args.command;
    process::main(
        "highwater-controller",
        Profile::Cluster,
        args.sources(),
        async move |config| match command {
            None => Box::pin(process::run_part(config, start)).await,
            Some(Command::Restore { seen_revision }) => restore(config, Revision(seen_revision)).await,
        },
    )
}

struct Running {
    controller: ControllerProcess,
    /// The lock of the data directory, where the store is embedded.
    _data_dir: Option<DataDir>,
}

impl Part for Running {
    async fn failed(&self) -> anyhow::Error {
        anyhow::Error::from(self.controller.failed().await).context("the controller cannot go on")
    }

    async fn stop(self) {
        self.controller.stop().await;
    }
}

async fn start(config: NodeConfig, surroundings: Surroundings) -> anyhow::Result<Running> {
    let (store, data_dir) = open_store(&config).await?;
    let grpc = surroundings.listen_for_processes(&config, GRPC_PORT).await?;
    let controller = ControllerProcess::start(ProcessParts {
        config: &config,
        store,
        advertised: format!("{}:{}", grpc.host(), grpc.port()),
        grpc,
        clock: surroundings.clock,
        shutdown: Shutdown::new(config.shutdown_grace),
        metrics: surroundings.metrics,
        health: surroundings.health.check("controller"),
    });
    let controller = controller.await?;
    Ok(Running {
        controller,
        _data_dir: data_dir,
    })
}

async fn restore(config: NodeConfig, seen: Revision) -> anyhow::Result<()> {
    let (store, _data_dir) = open_store(&config).await?;
    let Restored { generation, revision } = highwater_controller::restore::restore(&store, seen).await?;
    tracing::info!(generation, %revision, "the cluster goes on from here; start the controllers");
    Ok(())
}

async fn open_store(config: &NodeConfig) -> anyhow::Result<(Arc<dyn MetadataStore>, Option<DataDir>)> {
    if let Some(etcd) = config.etcd.clone() {
        let store = EtcdStore::connect(etcd).await.context("cannot use etcd")?;
        return Ok((Arc::new(store), None));
    }
    let data_dir = DataDir::open(&config.data_dir)?;
    let folder = data_dir.path().join(METADATA_FOLDER);
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder)).await?;
    let store = store.context("cannot open the metadata store")?;
    Ok((Arc::new(store), Some(data_dir)))
}
