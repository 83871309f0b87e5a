//! The command line.

use std::path::PathBuf;

use clap::Parser;
use highwater_node::config::{LoadError, Sources};
use highwater_node::process::{CONFIGURATION_HELP, CommonArgs};

const FIRST_STEPS: &str = "\
FIRST STEPS
  highwater                                            start; data in ./highwater-data
  kcat -b 127.0.0.1:9092 -P -t greetings               send lines from the keyboard
  kcat -b 127.0.0.1:9092 -C -t greetings -o beginning  read them back
  curl 127.0.0.1:9644/metrics                          what it does

DURABILITY
  With acks=all a record is on disk before it is acknowledged. To trade that for latency, as Kafka does by default:
    --set log.write.caching=true

  SIGTERM and Ctrl-C stop cleanly. After kill -9 or a power loss, the next start finds everything acknowledged.";

/// Highwater: a streaming platform that any Kafka client can use, in one process.
#[derive(Debug, Parser)]
#[command(
    name = "highwater",
    version,
    after_long_help = format!("{CONFIGURATION_HELP}\n\n{FIRST_STEPS}"),
    after_help = "More with --help."
)]
pub(crate) struct Args {
    /// Where records and metadata are kept; created if missing [default: ./highwater-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where Kafka clients connect; port 0 takes any free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

impl Args {
    /// All sources of configuration.
    pub(crate) fn sources(self) -> Result<Sources, LoadError> {
        self.common.sources([
            ("log.dirs", self.data_dir.map(|dir| dir.to_string_lossy().into_owned())),
            ("listeners", self.listen.map(|listen| format!("PLAINTEXT://{listen}"))),
        ])
    }
}
