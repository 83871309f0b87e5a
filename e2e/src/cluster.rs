//! A whole cluster as processes: etcd, controllers, brokers, coordinators, each started and ended by its own id.
//!
//! The binaries are those of `target/release`, or of `HIGHWATER_BIN_DIR`.

use crate::broker::free_port;
use crate::client::wait_until;
use crate::disk::Disk;
use crate::network::Network;
pub use crate::plan::{Id, Kind, Plan, name};
use crate::process::Process;
use crate::routed::Routed;
use crate::setup;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a process may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// Where a process listens.
struct Addresses {
    /// Kafka's protocol of a broker, clients of etcd.
    clients: String,
    /// gRPC, peers of etcd.
    grpc: String,
    /// Health and metrics.
    http: String,
}

struct Node {
    id: Id,
    addresses: Addresses,
    /// Before the network and the disk that it uses: it ends first.
    process: Process,
}

/// A cluster. All processes are ended when it is dropped.
pub struct Cluster {
    nodes: Vec<Node>,
    network: Option<Network>,
    disks: Vec<(Id, Disk)>,
    plan: Plan,
    scratch: TempDir,
}

impl Cluster {
    /// Starts everything and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(plan: Plan) -> Self {
        let mut cluster = Self::new(plan);
        cluster.start_all();
        cluster
    }

    /// A cluster of which nothing runs yet.
    ///
    /// # Panics
    /// When there is more than one controller without etcd.
    pub fn new(plan: Plan) -> Self {
        assert!(plan.etcd > 0 || plan.controllers == 1, "several controllers need etcd");
        let scratch = TempDir::with_prefix("highwater-cluster-").expect("a temporary folder");
        let ids = plan.ids();
        let network = plan.network.then(|| Network::new(ids.len() as u8));
        let with_disk = |id: &&Id| matches!(id.0, Kind::Broker | Kind::Etcd);
        let disks = plan.disk_mib.iter();
        let make = if plan.devices_stall {
            Disk::on_a_device
        } else {
            Disk::new
        };
        let disks = disks.flat_map(|mib| ids.iter().filter(with_disk).map(|id| (*id, make(*mib))));
        let disks: Vec<_> = disks.collect();
        let addresses: Vec<Addresses> = (0..ids.len()).map(|at| addresses(network.as_ref(), at as u8)).collect();
        let mut cluster = Self {
            nodes: Vec::new(),
            network,
            disks,
            plan,
            scratch,
        };
        let controllers = list(&ids, &addresses, Kind::Controller, |a| &a.grpc);
        let etcd = list(&ids, &addresses, Kind::Etcd, |a| &a.clients);
        let peers = ids.iter().zip(&addresses).filter(|(id, _)| id.0 == Kind::Etcd);
        let peers: Vec<String> = peers
            .map(|(id, a)| format!("{}=http://{}", name(*id), a.grpc))
            .collect();
        let peers = peers.join(",");
        for (at, (id, addresses)) in ids.iter().zip(addresses).enumerate() {
            let mut command: Vec<OsString> = Vec::new();
            if let Some(network) = &cluster.network {
                command.extend(network.enter(at as u8).map(OsString::from));
            }
            command.extend(match id.0 {
                Kind::Etcd => cluster.etcd_command(*id, &addresses, &peers),
                _ => cluster.command(*id, &addresses, &controllers, &etcd),
            });
            let process = Process::new(&name(*id), cluster.scratch.path(), command);
            cluster.nodes.push(Node {
                id: *id,
                addresses,
                process,
            });
        }
        cluster
    }

    fn command(&self, id: Id, addresses: &Addresses, controllers: &str, etcd: &str) -> Vec<OsString> {
        let dir = self.data_dir(id);
        let mut command: Vec<OsString> = vec![binary(id.0).into()];
        let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            command.push(name.into());
            command.push(value.as_ref().to_owned());
        };
        flag("--grpc", &addresses.grpc);
        flag("--http", &addresses.http);
        match id.0 {
            Kind::Controller if self.plan.etcd > 0 => flag("--etcd", &etcd),
            Kind::Controller => flag("--data-dir", &dir),
            _ => flag("--controllers", &controllers),
        }
        if id.0 == Kind::Broker {
            flag("--listen", &addresses.clients);
            flag("--data-dir", &dir);
            flag("--set", &format!("node.id={}", id.1 + 1));
        }
        for (key, value) in &self.plan.settings {
            flag("--set", &format!("{key}={value}"));
        }
        command
    }

    fn etcd_command(&self, id: Id, addresses: &Addresses, all: &str) -> Vec<OsString> {
        let (clients, peers) = (
            format!("http://{}", addresses.clients),
            format!("http://{}", addresses.grpc),
        );
        let mut command: Vec<OsString> = vec![binary(Kind::Etcd).into(), "--data-dir".into(), self.data_dir(id).into()];
        let quota = (u64::from(self.plan.etcd_quota_mib.unwrap_or(0)) << 20).to_string();
        for (flag, value) in [
            ("--name", name(id).as_str()),
            ("--listen-client-urls", &clients),
            ("--advertise-client-urls", &clients),
            ("--listen-peer-urls", &peers),
            ("--initial-advertise-peer-urls", &peers),
            ("--initial-cluster", all),
            ("--log-level", "warn"),
            // 0 is etcd's own.
            ("--quota-backend-bytes", &quota),
            // As operators are told to run it.
            ("--auto-compaction-mode", "periodic"),
            ("--auto-compaction-retention", "1m"),
        ] {
            command.extend([flag.into(), value.into()]);
        }
        command
    }

    /// Starts what does not run, and waits until all are ready and every broker knows all others.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start_all(&mut self) {
        let (etcd, others): (Vec<Id>, Vec<Id>) = self.plan.ids().into_iter().partition(|id| id.0 == Kind::Etcd);
        // The others connect to it as soon as they start; they wait, but the first seconds are quieter so.
        for ids in [etcd, others] {
            for id in &ids {
                if !self.process(*id).is_running() {
                    self.process(*id).start();
                }
            }
            for id in ids {
                self.wait_ready(id);
            }
        }
        self.wait_all_ready();
    }

    /// Waits until all are ready and every broker knows all others.
    ///
    /// # Panics
    /// When one is not ready within a minute.
    pub fn wait_all_ready(&mut self) {
        for id in self.plan.ids() {
            self.wait_ready(id);
        }
        let brokers = self.plan.brokers;
        for broker in 0..brokers {
            let address = self.kafka(broker);
            wait_until("every broker knows all others", READY, || {
                Routed::new(&address)
                    .any(|raw| raw.brokers())
                    .is_ok_and(|known| known == brokers)
            });
        }
    }

    /// Waits until a process is ready.
    ///
    /// # Panics
    /// When it ends instead, or is not ready within a minute.
    pub fn wait_ready(&mut self, id: Id) {
        let deadline = Instant::now() + READY;
        while !self.is_ready(id) {
            let ended = self.process(id).exited();
            let tail = self.process(id).log_tail(40);
            assert!(ended.is_none(), "{} ended with {ended:?}:\n{tail}", name(id));
            assert!(Instant::now() < deadline, "{} is not ready:\n{tail}", name(id));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether a process says that it is ready.
    pub fn is_ready(&self, id: Id) -> bool {
        let (address, path) = match id.0 {
            Kind::Etcd => (&self.node(id).addresses.clients, "/health"),
            _ => (&self.node(id).addresses.http, "/readyz"),
        };
        http_get(address, path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// What a process says of its readiness, with the answer's headers.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn readiness(&self, id: Id) -> std::io::Result<String> {
        http_get(&self.node(id).addresses.http, "/readyz")
    }

    /// The metrics of a process, as text.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self, id: Id) -> std::io::Result<String> {
        http_get(&self.node(id).addresses.http, "/metrics")
    }

    /// The process, to be started, frozen or killed.
    pub fn process(&mut self, id: Id) -> &mut Process {
        &mut self
            .nodes
            .iter_mut()
            .find(|n| n.id == id)
            .expect("a process of the plan")
            .process
    }

    fn node(&self, id: Id) -> &Node {
        self.nodes.iter().find(|n| n.id == id).expect("a process of the plan")
    }

    /// What was started, and with what.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// `HOST:PORT`s of all brokers, separated by commas.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = (0..self.plan.brokers).map(|broker| self.kafka(broker)).collect();
        all.join(",")
    }

    /// `HOST:PORT` of a broker, by its number from 0.
    pub fn kafka(&self, broker: usize) -> String {
        self.clients((Kind::Broker, broker))
    }

    /// `HOST:PORT` for the clients of a process.
    pub fn clients(&self, id: Id) -> String {
        self.node(id).addresses.clients.clone()
    }

    /// `HOST:PORT` for the other members of an etcd.
    pub fn peers(&self, id: Id) -> String {
        self.node(id).addresses.grpc.clone()
    }

    /// The broker at this address.
    ///
    /// # Panics
    /// When there is none.
    pub fn broker_at(&self, address: &str) -> usize {
        let found = (0..self.plan.brokers).find(|broker| self.kafka(*broker) == address);
        found.unwrap_or_else(|| panic!("no broker at {address}"))
    }

    /// Where a process keeps its data.
    pub fn data_dir(&self, id: Id) -> PathBuf {
        match self.disk(id) {
            Some(disk) => disk.path().join("data"),
            None => self.scratch.path().join(format!("{}-data", name(id))),
        }
    }

    /// The disk of a process, if it has one of its own.
    pub fn disk(&self, id: Id) -> Option<&Disk> {
        self.disks.iter().find(|(of, _)| *of == id).map(|(_, disk)| disk)
    }

    /// The network.
    ///
    /// # Panics
    /// When the processes have no addresses of their own.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a plan with a network")
    }

    /// The place of a process in the network.
    ///
    /// # Panics
    /// When it is not of the plan.
    pub fn place(&self, id: Id) -> u8 {
        self.nodes
            .iter()
            .position(|n| n.id == id)
            .expect("a process of the plan") as u8
    }

    /// A client of single requests.
    pub fn raw(&self) -> Routed {
        Routed::new(&self.bootstrap())
    }

    /// A second process with the command line of a broker, but its own ports, in the folder of the first one or an empty
    /// one of its own.
    ///
    /// # Panics
    /// When this machine has no free port.
    pub fn impostor(&self, broker: usize, same_folder: bool) -> Process {
        let id = (Kind::Broker, broker);
        let at = self.place(id);
        let own = match &self.network {
            Some(network) => Addresses {
                clients: format!("{}:19092", network.address(at)),
                grpc: format!("{}:19190", network.address(at)),
                http: format!("{}:19644", network.address(at)),
            },
            None => addresses(None, at),
        };
        let mut command: Vec<OsString> = Vec::new();
        if let Some(network) = &self.network {
            command.extend(network.enter(at).map(OsString::from));
        }
        let controllers: Vec<&str> = self
            .nodes
            .iter()
            .filter(|n| n.id.0 == Kind::Controller)
            .map(|n| n.addresses.grpc.as_str())
            .collect();
        command.extend(self.command(id, &own, &controllers.join(","), ""));
        let place = command
            .iter()
            .position(|part| part == "--data-dir")
            .expect("a broker has a folder")
            + 1;
        if !same_folder {
            command[place] = self.scratch.path().join(format!("impostor-{at}")).into();
        }
        Process::new(
            &format!("impostor-of-broker-{}", broker + 1),
            self.scratch.path(),
            command,
        )
    }

    /// The folder that all processes log to, and keep their data in where they have no disk.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Stops all cleanly, in the order in which they need each other.
    ///
    /// # Panics
    /// When one does not end by itself, or not with status 0.
    pub fn stop(&mut self) {
        for id in self.plan.ids().into_iter().rev() {
            if self.process(id).is_running() {
                let status = self.process(id).terminate();
                let clean = status.success() || id.0 == Kind::Etcd;
                assert!(
                    clean,
                    "{} ended with {status}:\n{}",
                    name(id),
                    self.process(id).log_tail(40)
                );
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A process that waits for a frozen disk cannot be killed.
        for (_, disk) in &self.disks {
            disk.thaw();
        }
        for node in &mut self.nodes {
            node.process.kill9();
        }
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!(
                    "---- the end of the log of {}\n{}",
                    name(node.id),
                    node.process.log_tail(25)
                );
            }
            if let Some(dir) = std::env::var_os("HIGHWATER_E2E_KEEP_LOGS") {
                keep_logs(self.scratch.path(), Path::new(&dir));
            }
        }
    }
}

fn keep_logs(from: &Path, to: &Path) {
    let _ = std::fs::create_dir_all(to);
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}

fn list(ids: &[Id], addresses: &[Addresses], kind: Kind, of: fn(&Addresses) -> &String) -> String {
    let all = ids.iter().zip(addresses).filter(|(id, _)| id.0 == kind);
    all.map(|(_, a)| of(a).as_str()).collect::<Vec<_>>().join(",")
}

fn addresses(network: Option<&Network>, at: u8) -> Addresses {
    match network {
        Some(network) => {
            let host = network.address(at);
            Addresses {
                clients: format!("{host}:9092"),
                grpc: format!("{host}:9190"),
                http: format!("{host}:9644"),
            }
        }
        None => Addresses {
            clients: format!("127.0.0.1:{}", free_port()),
            grpc: format!("127.0.0.1:{}", free_port()),
            http: format!("127.0.0.1:{}", free_port()),
        },
    }
}

/// A binary under test.
///
/// # Panics
/// When it has not been built.
pub fn binary(kind: Kind) -> PathBuf {
    let name = match kind {
        Kind::Etcd => return setup::tool("etcd"),
        Kind::Controller => "highwater-controller",
        Kind::Broker => "highwater-broker",
        Kind::Coordinator => "highwater-coordinator",
    };
    let dir = std::env::var_os("HIGHWATER_BIN_DIR").map_or_else(|| setup::root().join("target/release"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: run `make release`", path.display());
    path
}

fn http_get(address: &str, path: &str) -> std::io::Result<String> {
    let limit = Duration::from_secs(2);
    let address = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
