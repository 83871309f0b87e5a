//! A process of its own on ports of its own. Only processes that a test started are ended by it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;

/// Nothing here should take longer.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub struct Highwater {
    child: Child,
    log: TempDir,
    ended: Option<ExitStatus>,
}

/// Limits of open files.
#[derive(Clone, Copy)]
pub struct Limits {
    pub soft: u32,
    pub hard: u32,
}

/// The command with its data in `data` and free ports.
pub fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.stdin(Stdio::null());
    command
}

/// Runs to its end.
pub fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

impl Highwater {
    /// Starts and waits until clients are served. `sets` are configs.
    pub fn start(data: &Path, sets: &[&str]) -> Self {
        let mut started = Self::spawn(data, sets);
        started.wait_for_log("ready for clients");
        started
    }

    /// The same with limits of open files.
    pub fn start_with(data: &Path, sets: &[&str], limits: Limits) -> Self {
        let mut started = Self::spawn_with(data, sets, limits);
        started.wait_for_log("ready for clients");
        started
    }

    pub fn spawn(data: &Path, sets: &[&str]) -> Self {
        Self::spawn_command(command(data), sets)
    }

    pub fn spawn_with(data: &Path, sets: &[&str], Limits { soft, hard }: Limits) -> Self {
        let highwater = command(data);
        let mut limited = Command::new("sh");
        limited
            .args([
                "-c",
                &format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\""),
            ])
            .arg(highwater.get_program())
            .args(highwater.get_args())
            .stdin(Stdio::null());
        Self::spawn_command(limited, sets)
    }

    fn spawn_command(mut command: Command, sets: &[&str]) -> Self {
        let log = tempfile::tempdir().unwrap();
        sets.iter().for_each(|set| {
            command.args(["--set", set]);
        });
        command
            .stdout(Stdio::null())
            .stderr(File::create(log.path().join("log")).unwrap());
        Self {
            child: command.spawn().unwrap(),
            log,
            ended: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap()
    }

    pub fn wait_for_log(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.log().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "no {text:?} in\n{}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    /// Address in the line of the log with this text.
    fn address(&self, text: &str) -> SocketAddr {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(text)).expect("such a line");
        let (_, address) = line.split_once("address=").expect("an address");
        address
            .split_whitespace()
            .next()
            .unwrap()
            .trim_matches('"')
            .parse()
            .expect("an address")
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address("ready for clients"))
    }

    /// The body of an answer on the http port.
    pub fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address("health and metrics")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// Waits for its end: how long that took, and its status.
    pub fn wait(&mut self) -> (Duration, ExitStatus) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = Some(status);
                return (start.elapsed(), status);
            }
            assert!(start.elapsed() < LIMIT, "it does not end:\n{}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    /// SIGTERM, and gone with status 0.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let (_, status) = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    pub fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }
}

impl Drop for Highwater {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
