//! Apache Kafka, to check the suites themselves.

use crate::broker::free_port;
use crate::setup;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Apache Kafka, driven by `e2e/bench/kafka-peer`.
pub struct KafkaPeer {
    _scratch: TempDir,
    /// Its folder.
    pub dir: PathBuf,
    /// Its port.
    pub port: u16,
}

impl KafkaPeer {
    /// Starts one broker with these properties, its data on this disk.
    ///
    /// # Panics
    /// When the script fails.
    pub fn start(settings: &[(&str, &str)], disk: Option<&Path>) -> Self {
        let scratch = TempDir::with_prefix("kafka-e2e-").expect("a temporary folder");
        let dir = disk.unwrap_or(scratch.path()).join("peer");
        let peer = Self {
            _scratch: scratch,
            dir,
            port: free_port(),
        };
        let mut command = peer.verb("start");
        command.args(["-n", "1", "-p", &peer.port.to_string()]);
        for (key, value) in settings {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        run(command);
        peer
    }

    /// A command of the script.
    pub fn verb(&self, verb: &str) -> Command {
        let mut command = Command::new(setup::root().join("e2e/bench/kafka-peer"));
        command
            .arg(verb)
            .arg(&self.dir)
            .env("KAFKA_HEAP", "-Xmx1G -Xms256M")
            .stdout(Stdio::null());
        command
    }
}

impl Drop for KafkaPeer {
    fn drop(&mut self) {
        run(self.verb("stop"));
    }
}

/// Runs a command of the script.
///
/// # Panics
/// When it fails.
pub fn run(mut command: Command) {
    let status = command.status().expect("the script starts");
    assert!(status.success(), "{command:?} ended with {status}");
}
