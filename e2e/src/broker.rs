//! The broker under test, as a process.
//!
//! By default that is Highwater (`target/release/highwater`, or `HIGHWATER_BIN`). To check the suites themselves:
//! `HIGHWATER_E2E_PEER=kafka` runs them against Apache Kafka, started by `e2e/bench/kafka-peer`, and
//! `HIGHWATER_E2E_BOOTSTRAP=HOST:PORT` against any broker that runs already (tests that kill it then fail). With
//! `HIGHWATER_E2E_PEER=cluster` those that need no particular broker run against a cluster of Highwater.

use crate::cluster::{Cluster, Plan};
use crate::kafka_peer::{KafkaPeer, run};
use crate::raw::Raw;
use crate::routed::Routed;
use crate::setup;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a broker may take until it answers.
const START: Duration = Duration::from_secs(60);

/// A free port below the range from which the kernel takes ports of outgoing connections: a client that keeps dialling
/// a dead broker's port in that range can end up connected to itself, and a restart finds the port taken.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 8_000;
    for _ in 0..8_000 {
        let port = 20_000 + (start + NEXT.fetch_add(7, Ordering::Relaxed)) % 8_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 28000");
}

/// A Highwater process with its own data folder and ports, which stay the same over restarts.
pub struct Highwater {
    child: Option<Child>,
    scratch: TempDir,
    data: PathBuf,
    kafka_port: u16,
    http_port: u16,
    settings: Vec<(String, String)>,
    flags: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Highwater {
    /// A process that is not started yet.
    pub fn new() -> Self {
        let scratch = TempDir::with_prefix("highwater-e2e-").expect("a temporary folder");
        let data = scratch.path().join("data");
        let (kafka_port, http_port) = (free_port(), free_port());
        Self {
            child: None,
            scratch,
            data,
            kafka_port,
            http_port,
            settings: Vec::new(),
            flags: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With a broker property, given by `--set`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Without the soft disk limit: it takes records until the disk is full.
    pub fn to_the_brim(self) -> Self {
        self.set("disk.soft.free.bytes", "0").set("disk.soft.free.percent", "0")
    }

    /// With a variable in its environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With a flag of the command line.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On this address.
    ///
    /// # Panics
    /// When it has no port.
    pub fn listen(mut self, address: &str) -> Self {
        self.kafka_port = address
            .rsplit_once(':')
            .and_then(|(_, p)| p.parse().ok())
            .expect("HOST:PORT");
        self
    }

    /// On another data folder than the one of its own.
    pub fn data_in(mut self, path: &Path) -> Self {
        self.data = path.to_path_buf();
        self
    }

    /// The binary under test.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn binary() -> PathBuf {
        let path = std::env::var_os("HIGHWATER_BIN")
            .map_or_else(|| setup::root().join("target/release/highwater"), PathBuf::from);
        assert!(path.exists(), "{} is missing: run `make release`", path.display());
        path
    }

    /// The command line, for tests that start it in their own way.
    pub fn command(&self) -> Command {
        let mut command = Command::new(Self::binary());
        command
            .args(["--data-dir".as_ref(), self.data.as_os_str()])
            .args(["--listen", &self.bootstrap()])
            .args(["--http", &format!("127.0.0.1:{}", self.http_port)]);
        for (name, value) in &self.flags {
            command.args([name, value]);
        }
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // Highwater refuses a `HIGHWATER_...` that names no config: the settings of the suites are none of its own.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HIGHWATER_") {
                command.env_remove(name);
            }
        }
        command
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null());
        command
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Panics
    /// When it ends instead, or does not answer in a minute.
    pub fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + START;
        while !answers(&self.bootstrap()) {
            if let Some(status) = self.exited() {
                panic!("highwater ended with {status} before it answered:\n{}", self.log_tail());
            }
            assert!(
                Instant::now() < deadline,
                "highwater does not answer:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = open_log(&self.log_path()).expect("the log file");
        let errors = log.try_clone().expect("the log file");
        self.child = Some(
            self.command()
                .stdout(log)
                .stderr(errors)
                .spawn()
                .expect("highwater starts"),
        );
    }

    /// `HOST:PORT` of the Kafka listener.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// `HOST:PORT` of health and metrics.
    pub fn http(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The folder that holds a folder per partition.
    ///
    /// # Panics
    /// When there is no partition with a segment yet.
    pub fn log_dir(&self) -> PathBuf {
        partition_parent(&self.data)
    }

    /// A connection of the raw client.
    ///
    /// # Panics
    /// When nobody accepts it.
    pub fn raw(&self) -> Raw {
        Raw::connect(&self.bootstrap()).expect("the broker accepts connections")
    }

    /// A folder that lives as long as this value, beside the data folder.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The id of the running process.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// The status it has ended with, `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("a child of ours");
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// SIGKILL, and gone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and the status it ends with.
    ///
    /// # Panics
    /// When it does not end in 30 s.
    pub fn terminate(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("a child of ours");
        self.wait(Duration::from_secs(30))
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "highwater does not end:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("highwater.log")
    }

    /// All it has written to stdout and stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        tail(&self.log(), 60)
    }
}

impl Default for Highwater {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Highwater {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("---- the end of highwater's log\n{}\n----", self.log_tail());
        }
    }
}

/// The broker a client suite runs against.
pub enum Broker {
    /// Highwater, the default.
    Highwater(Box<Highwater>),
    /// Apache Kafka, with `HIGHWATER_E2E_PEER=kafka`.
    Kafka(KafkaPeer),
    /// Whatever listens on `HIGHWATER_E2E_BOOTSTRAP`.
    External(String),
    /// Several brokers of Highwater, with `HIGHWATER_E2E_PEER=cluster`: what needs one of them asks the cluster itself.
    Cluster(Box<Cluster>),
}

const ONE_OF_MANY: &str = "which of the cluster's brokers?";

impl Broker {
    /// Starts the broker that the environment asks for, with these properties, and waits until it answers.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(settings, None)
    }

    /// As [`Broker::start`], with its data on this disk.
    pub fn start_on(settings: &[(&str, &str)], disk: &Path) -> Self {
        Self::start_in(settings, Some(disk))
    }

    fn start_in(settings: &[(&str, &str)], disk: Option<&Path>) -> Self {
        if let Ok(bootstrap) = std::env::var("HIGHWATER_E2E_BOOTSTRAP") {
            return Self::External(bootstrap);
        }
        if is_kafka() {
            return Self::Kafka(KafkaPeer::start(settings, disk));
        }
        if peer_is("cluster") {
            assert!(disk.is_none(), "{ONE_OF_MANY}");
            return Self::cluster(settings);
        }
        let mut highwater = Highwater::new();
        if let Some(disk) = disk {
            highwater = highwater.data_in(&disk.join("data"));
        }
        for (key, value) in settings {
            highwater = highwater.set(key, value);
        }
        highwater.start();
        Self::Highwater(Box::new(highwater))
    }

    /// Three brokers with these properties, three controllers, two coordinators and etcd, all ready.
    pub fn cluster(settings: &[(&str, &str)]) -> Self {
        let with = |plan: Plan, (key, value): &(&str, &str)| plan.set(key, value);
        let plan = settings.iter().fold(Plan::default(), with);
        Self::Cluster(Box::new(Cluster::start(plan)))
    }

    /// `HOST:PORT`, of a cluster several of them separated by commas.
    pub fn bootstrap(&self) -> String {
        match self {
            Self::Cluster(c) => c.bootstrap(),
            Self::Highwater(h) => h.bootstrap(),
            Self::Kafka(k) => format!("127.0.0.1:{}", k.port),
            Self::External(bootstrap) => bootstrap.clone(),
        }
    }

    /// The folder that holds a folder per partition.
    ///
    /// # Panics
    /// For an external broker.
    pub fn log_dir(&self) -> PathBuf {
        match self {
            Self::Highwater(h) => h.log_dir(),
            Self::Kafka(k) => k.dir.join("node-1/data"),
            Self::External(_) => panic!("the data folder of an external broker is not known"),
            Self::Cluster(_) => panic!("{ONE_OF_MANY}"),
        }
    }

    /// SIGKILL, and gone.
    pub fn kill9(&mut self) {
        match self {
            Self::Highwater(h) => h.kill9(),
            Self::Kafka(k) => run({
                let mut command = k.verb("kill");
                command.arg("1");
                command
            }),
            Self::External(_) => panic!("an external broker cannot be killed"),
            Self::Cluster(_) => panic!("{ONE_OF_MANY}"),
        }
    }

    /// Starts it again on its data and waits until it answers.
    pub fn restart(&mut self) {
        match self {
            Self::Highwater(h) => h.start(),
            Self::Kafka(k) => run({
                let mut command = k.verb("restart");
                command.arg("1");
                command
            }),
            Self::External(_) => panic!("an external broker cannot be restarted"),
            Self::Cluster(_) => panic!("{ONE_OF_MANY}"),
        }
    }

    /// A clean stop.
    pub fn stop(&mut self) {
        match self {
            Self::Highwater(h) => {
                let status = h.terminate();
                assert!(status.success(), "SIGTERM is a clean stop, not {status}");
            }
            Self::Kafka(k) => run(k.verb("stop")),
            Self::External(_) => panic!("an external broker cannot be stopped"),
            Self::Cluster(_) => panic!("{ONE_OF_MANY}"),
        }
    }

    /// A connection of the raw client.
    pub fn raw(&self) -> Raw {
        Raw::connect(&self.bootstrap()).expect("the broker accepts connections")
    }

    /// The raw client, for one broker or several.
    pub fn routed(&self) -> Routed {
        Routed::new(&self.bootstrap())
    }
}

/// Whether the suites run against Apache Kafka.
pub fn is_kafka() -> bool {
    peer_is("kafka")
}

fn peer_is(name: &str) -> bool {
    std::env::var("HIGHWATER_E2E_PEER").is_ok_and(|peer| peer == name)
}

/// The folder below `data` that holds the partitions' folders: the first, breadth first, with a folder `NAME-NUMBER`
/// in it that holds a segment.
fn partition_parent(data: &Path) -> PathBuf {
    let mut level = vec![data.to_path_buf()];
    while !level.is_empty() {
        let mut next = Vec::new();
        for dir in &level {
            let children: Vec<PathBuf> = folders(dir);
            if children.iter().any(|c| holds_segment(c)) {
                return dir.clone();
            }
            next.extend(children);
        }
        level = next;
    }
    panic!("no folder below {} holds partitions", data.display());
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir)
        .map(|d| d.flatten().collect::<Vec<_>>())
        .unwrap_or_default();
    entries.into_iter().map(|e| e.path()).filter(|p| p.is_dir()).collect()
}

fn holds_segment(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|d| d.flatten().any(|e| e.path().extension().is_some_and(|x| x == "log")))
}

/// Whether a Kafka broker answers Metadata there and names itself.
pub fn answers(bootstrap: &str) -> bool {
    Raw::connect(bootstrap)
        .and_then(|mut raw| raw.brokers())
        .is_ok_and(|n| n > 0)
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The last `lines` lines.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
