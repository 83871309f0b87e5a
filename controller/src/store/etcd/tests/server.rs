//! A real etcd for a test: killed when it is dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use highwater_node::config::EtcdConfig;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where `make setup-etcd` puts it.
fn binary() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/etcd");
    assert!(path.exists(), "{} is missing: run `make setup-etcd`", path.display());
    path
}

/// What a test changes of the usual.
#[derive(Clone, Default)]
pub(super) struct Options {
    /// More arguments.
    pub(super) arguments: Vec<String>,
    /// Clients speak TLS with it.
    pub(super) tls: bool,
}

/// The members of one etcd cluster.
pub(super) struct EtcdCluster {
    pub(super) members: Vec<EtcdServer>,
}

pub(super) struct EtcdServer {
    arguments: Vec<String>,
    url: String,
    child: Child,
    folder: tempfile::TempDir,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One member, ready.
pub(super) async fn etcd() -> EtcdServer {
    etcd_with(Options::default()).await
}

pub(super) async fn etcd_with(options: Options) -> EtcdServer {
    let cluster = EtcdCluster::start(1, &options).await;
    cluster.members.into_iter().next().unwrap()
}

impl EtcdCluster {
    pub(super) async fn start(members: usize, options: &Options) -> Self {
        let peers: Vec<String> = (0..members)
            .map(|_| format!("http://127.0.0.1:{}", free_port()))
            .collect();
        let initial: Vec<String> = peers.iter().enumerate().map(|(n, url)| format!("m{n}={url}")).collect();
        let scheme = if options.tls { "https" } else { "http" };
        let start = |(n, peer): (usize, &String)| {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("{scheme}://127.0.0.1:{}", free_port());
            let given = [
                ("--name", format!("m{n}")),
                ("--data-dir", folder.path().join("data").display().to_string()),
                ("--listen-client-urls", url.clone()),
                ("--advertise-client-urls", url.clone()),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer.clone()),
                ("--initial-cluster", initial.join(",")),
                // Quick elections, and leases as short as one second.
                ("--heartbeat-interval", "50".to_owned()),
                ("--election-timeout", "300".to_owned()),
                ("--log-level", "error".to_owned()),
            ];
            let mut arguments: Vec<String> = given
                .into_iter()
                .flat_map(|(key, value)| [key.to_owned(), value])
                .collect();
            // The disk is not what is tested.
            arguments.push("--unsafe-no-fsync".to_owned());
            arguments.extend(options.arguments.iter().cloned());
            let child = spawn(&arguments);
            EtcdServer {
                arguments,
                url,
                child,
                folder,
            }
        };
        let cluster = Self {
            members: peers.iter().enumerate().map(start).collect(),
        };
        for member in &cluster.members {
            member.ready().await;
        }
        cluster
    }

    pub(super) fn config(&self, name: &str) -> EtcdConfig {
        let endpoints = self.members.iter().map(|member| member.url.clone()).collect();
        EtcdConfig {
            endpoints,
            ..self.members[0].config(name)
        }
    }
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

impl EtcdServer {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// How a controller reaches it.
    pub(super) fn config(&self, name: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![self.url.clone()],
            cluster: name.to_owned(),
            lease_ttl: Duration::from_secs(3),
            request_timeout: Duration::from_secs(2),
            user: None,
            tls: None,
        }
    }

    /// A client of its own.
    pub(super) async fn client(&self) -> etcd_client::Client {
        etcd_client::Client::connect([&self.url], None).await.unwrap()
    }

    /// Waits until it answers. One that speaks TLS is there when it listens.
    async fn ready(&self) {
        let ready = async {
            loop {
                let listens = tokio::net::TcpStream::connect(self.address()).await.is_ok();
                if listens && (self.url.starts_with("https") || self.answers().await) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready)
            .await
            .expect("etcd does not start");
    }

    /// With an answer of its own, be it that it wants to know who asks.
    async fn answers(&self) -> bool {
        match self.client().await.get("x", None).await {
            Ok(_) => true,
            Err(etcd_client::Error::GRpcStatus(status)) => status.code() == tonic::Code::InvalidArgument,
            Err(_) => false,
        }
    }

    /// How many watches it serves.
    pub(super) async fn watches(&self) -> usize {
        let mut connection = tokio::net::TcpStream::connect(self.address()).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "));
        line.unwrap().trim().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// It answers nothing any more, and its connections stay open.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A copy of what it has, while it does not run.
    pub(super) fn back_up(&self, to: &Path) {
        copy(&self.folder.path().join("data"), to);
    }

    /// Puts such a copy in the place of what it has, while it does not run.
    pub(super) fn restore(&self, from: &Path) {
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).unwrap();
        copy(from, &data);
    }

    /// The same member again, with the same data.
    pub(super) async fn start_again(&mut self) {
        self.child = spawn(&self.arguments);
        self.ready().await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
