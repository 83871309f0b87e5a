//! The README's cluster: one command starts it, the first message goes through as it is typed there, one of the brokers is
//! killed, Ctrl-C ends everything. It uses the ports that the README names.

use highwater_e2e::client::wait_until;
use highwater_e2e::setup;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const BOOTSTRAP: &str = "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094";
const PATIENCE: Duration = Duration::from_secs(90);

/// Ended when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

fn shell(line: &str) -> Output {
    Command::new("timeout")
        .args(["60", "bash", "-c", line])
        .output()
        .expect("bash starts")
}

/// The pid in the row of the table that `make cluster` prints.
fn pid_of(text: &str, process: &str) -> Option<Pid> {
    let row = text.lines().find(|line| line.trim_start().starts_with(process))?;
    Pid::from_raw(row.split_whitespace().nth(1)?.parse().ok()?)
}

#[test]
fn the_cluster_of_the_readme_takes_the_first_message_and_survives_a_broker() {
    let scratch = TempDir::with_prefix("make-cluster-").expect("a temporary folder");
    let said = scratch.path().join("said");
    let out = std::fs::File::create(&said).expect("a file of ours");
    let mut cluster = Running(
        Command::new(setup::root().join("tools/cluster"))
            .arg(scratch.path().join("data"))
            .stdin(Stdio::null())
            .stderr(out.try_clone().expect("a file of ours"))
            .stdout(out)
            .spawn()
            .expect("tools/cluster starts"),
    );
    let text = || std::fs::read_to_string(&said).unwrap_or_default();
    wait_until("the cluster runs", PATIENCE, || {
        let ended = cluster.0.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "it ended with {ended:?}:\n{}", text());
        text().contains("The first message")
    });
    let processes = [
        "etcd",
        "controller-1",
        "controller-2",
        "controller-3",
        "broker-1",
        "broker-2",
        "broker-3",
        "coordinator-1",
        "coordinator-2",
    ];
    let pids: Vec<Pid> = processes
        .iter()
        .map(|process| pid_of(&text(), process).unwrap_or_else(|| panic!("no row of {process} in\n{}", text())))
        .collect();

    let produce = |value: &str| {
        let sent = shell(&format!("echo {value} | kcat -b {BOOTSTRAP} -P -t greetings"));
        assert!(sent.status.success(), "{sent:?}");
    };
    produce("hello");
    kill_process(pids[4], Signal::KILL).expect("a broker to kill");
    produce("again");
    let read = shell(&format!("kcat -b {BOOTSTRAP} -C -t greetings -o beginning -e -q"));
    let mut lines: Vec<String> = String::from_utf8_lossy(&read.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["again", "hello"], "{read:?}");
    wait_until("the loss is told", PATIENCE, || text().contains("broker-1 has ended"));

    // Ctrl-C.
    kill_process(Pid::from_child(&cluster.0), Signal::INT).expect("the script");
    let status = cluster.0.wait().expect("a child of ours");
    assert_eq!(status.code(), Some(130), "{}", text());
    let alive: Vec<_> = pids.iter().filter(|pid| test_kill_process(**pid).is_ok()).collect();
    assert!(alive.is_empty(), "{alive:?} go on:\n{}", text());
}
