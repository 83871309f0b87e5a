//! The command line.

use std::path::PathBuf;

use clap::Parser;
use highwater_node::config::{LoadError, Sources, parse_set};

const AFTER_HELP: &str = "\
CONFIGURATION
  Keys are Kafka's: num.partitions, log.retention.ms, advertised.listeners, ...
  They come from three places; the first that has a key wins:
    1. flags                --set num.partitions=3
    2. the environment      HIGHWATER_NUM_PARTITIONS=3
    3. a properties file    --config server.properties
  A key that is not known, or a value that would not be obeyed, is refused at start.

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
#[command(name = "highwater", version, after_long_help = AFTER_HELP, after_help = "More with --help.")]
pub(crate) struct Args {
    /// Where records and metadata are kept; created if missing [default: ./highwater-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where Kafka clients connect; port 0 takes any free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where /livez, /readyz and /metrics are answered [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// A Java properties file; a server.properties of Kafka works
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Args {
    /// All sources of configuration. The three short flags are configs under another name.
    pub(crate) fn sources(self) -> Result<Sources, LoadError> {
        let mut flags = self
            .set
            .iter()
            .map(|text| parse_set(text))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(dir) = self.data_dir {
            flags.push(("log.dirs".to_owned(), dir.to_string_lossy().into_owned()));
        }
        if let Some(listen) = self.listen {
            flags.push(("listeners".to_owned(), format!("PLAINTEXT://{listen}")));
        }
        if let Some(http) = self.http {
            flags.push(("http.listener".to_owned(), http));
        }
        Ok(Sources {
            file: self.config,
            environment: std::env::vars().collect(),
            flags,
        })
    }
}
