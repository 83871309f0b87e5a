//! etcd's own tools, for what tests do to an etcd: find its leader, move it, fill it up, empty it again, back it up and
//! restore it.

use crate::cluster::{Cluster, Id, Kind, name};
use crate::setup;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A value of about the largest size that etcd takes.
const FILLER: usize = 1_000_000;
/// So many of them are more than any quota of the tests.
const FILLERS: usize = 200;

/// Runs `etcdctl`; what it printed, or why it failed.
fn etcdctl(endpoints: &str, args: &[&str], input: &[u8]) -> Result<String, String> {
    let mut command = Command::new(setup::tool("etcdctl"));
    command.args([
        "--endpoints",
        endpoints,
        "--command-timeout",
        "2s",
        "--dial-timeout",
        "1s",
    ]);
    command.args(args).stdin(Stdio::piped());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("etcdctl starts");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("a child of ours");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

/// A field of `endpoint status`, as a member tells it.
fn status(endpoint: &str, field: &str) -> Option<u64> {
    let text = etcdctl(endpoint, &["endpoint", "status", "-w", "fields"], b"").ok()?;
    let name = format!("\"{field}\" : ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
}

fn members(cluster: &Cluster) -> Vec<Id> {
    (0..cluster.plan().etcd).map(|number| (Kind::Etcd, number)).collect()
}

fn all(cluster: &Cluster) -> String {
    let members = members(cluster).into_iter();
    members.map(|id| cluster.clients(id)).collect::<Vec<_>>().join(",")
}

/// The member that leads, if one says so of itself.
pub fn leader(cluster: &Cluster) -> Option<Id> {
    members(cluster).into_iter().find(|id| {
        let endpoint = cluster.clients(*id);
        let leader = status(&endpoint, "Leader");
        leader.is_some() && leader == status(&endpoint, "MemberID")
    })
}

/// Gives the lead to another member. False when nobody leads, or the others do not answer.
pub fn move_leader(cluster: &Cluster) -> bool {
    let Some(leader) = leader(cluster) else { return false };
    let mut others = members(cluster).into_iter().filter(|id| *id != leader);
    let Some(next) = others.find_map(|id| status(&cluster.clients(id), "MemberID")) else {
        return false;
    };
    etcdctl(&cluster.clients(leader), &["move-leader", &format!("{next:x}")], b"").is_ok()
}

/// Fills it until it takes nothing more.
///
/// # Panics
/// When there is room for ever.
pub fn fill(cluster: &Cluster) {
    let (endpoints, value) = (all(cluster), vec![b'x'; FILLER]);
    let full = (0..FILLERS).any(|number| {
        let put = etcdctl(&endpoints, &["put", &format!("/filler/{number}")], &value);
        put.is_err_and(|error| error.contains("database space exceeded"))
    });
    assert!(full, "etcd has no quota");
}

/// What an operator does about it: makes room, and says so to every member.
///
/// # Panics
/// When etcd does not take it.
pub fn empty(cluster: &Cluster) {
    let endpoints = all(cluster);
    let run = |args: &[&str]| etcdctl(&endpoints, args, b"").unwrap_or_else(|e| panic!("etcdctl {args:?}: {e}"));
    run(&["del", "/filler/", "--prefix"]);
    let revision = members(cluster)
        .into_iter()
        .find_map(|id| status(&cluster.clients(id), "Revision"));
    // It refuses a revision that its own compaction has passed meanwhile.
    let revision = revision.expect("a member that answers").to_string();
    let _ = etcdctl(&endpoints, &["compact", "--physical", &revision], b"");
    run(&["defrag"]);
    run(&["alarm", "disarm"]);
}

/// Saves what it has to a file, as operators back it up.
///
/// # Panics
/// When it does not answer.
pub fn back_up(cluster: &Cluster, file: &Path) {
    let endpoint = cluster.clients((Kind::Etcd, 0));
    let file = file.to_str().expect("a path of text");
    etcdctl(&endpoint, &["snapshot", "save", file], b"").unwrap_or_else(|e| panic!("no backup: {e}"));
}

/// Starts it anew from such a file, and waits until it is ready. What it had is kept beside its folder.
///
/// # Panics
/// When it has more than one member, or the backup is not taken.
pub fn restore(cluster: &mut Cluster, file: &Path, options: &[&str]) {
    let id = (Kind::Etcd, 0);
    assert_eq!(cluster.plan().etcd, 1, "members of a restored etcd have one backup");
    cluster.process(id).kill9();
    let folder = cluster.data_dir(id);
    std::fs::rename(&folder, folder.with_extension("before")).expect("the folder of etcd");
    let (own, url) = (name(id), format!("http://{}", cluster.peers(id)));
    let mut command = Command::new(setup::tool("etcdutl"));
    command
        .args(["snapshot", "restore"])
        .arg(file)
        .arg("--data-dir")
        .arg(&folder);
    command.args(["--name", &own, "--initial-cluster", &format!("{own}={url}")]);
    command.args(["--initial-advertise-peer-urls", &url]).args(options);
    let output = command.output().expect("etcdutl starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the backup is not taken: {errors}");
    cluster.process(id).start();
    cluster.wait_ready(id);
}
