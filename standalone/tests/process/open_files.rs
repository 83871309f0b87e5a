//! File handles: the process takes all that it may have, keeps what the storage needs from clients, and outlives having
//! none left.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::highwater::{Highwater, Limits};

/// Far fewer handles than partitions.
const FEW: Limits = Limits { soft: 200, hard: 200 };
const PARTITIONS: i32 = 300;
const STORAGE_ERROR: i16 = 56;
/// The records are of 1970.
const KEEP: &str = "log.retention.ms=-1";

/// One record into each partition. Without a handle the broker refuses some of them, and takes them a moment later.
fn fill(client: &mut Client, value: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut left: Vec<i32> = (0..PARTITIONS).collect();
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{} partitions are refused", left.len());
        let codes = client.produce_to("t", &left, value);
        assert!(
            codes.iter().all(|(_, code)| [0, STORAGE_ERROR].contains(code)),
            "{codes:?}"
        );
        left = codes
            .iter()
            .filter(|(_, code)| *code != 0)
            .map(|(index, _)| *index)
            .collect();
    }
}

fn all_is_there(highwater: &Highwater, client: &mut Client, values: &[&str]) {
    for partition in 0..PARTITIONS {
        assert_eq!(client.values_of("t", partition), values, "partition {partition}");
    }
    let log = highwater.log();
    assert!(
        !log.contains("replica is offline") && !log.contains("a flush failed"),
        "{log}"
    );
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start_with(dir.path(), &[], Limits { soft: 256, hard: 1_000 });
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", highwater.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("1000"), "{files}");
    let log = highwater.log();
    assert!(log.contains("limit=1000 log_files=375 connections=561"), "{log}");
    highwater.stop();
}

#[test]
fn more_partitions_and_connections_than_handles_take_nothing_offline() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start_with(dir.path(), &[KEEP], FEW);
    let mut client = highwater.connect();
    client.create_with("t", PARTITIONS, 1);
    fill(&mut client, "a");
    // More than are served at a time: the rest waits in the kernel.
    let crowd: Vec<Client> = (0..100).map(|_| highwater.connect()).collect();
    fill(&mut client, "b");
    all_is_there(&highwater, &mut client, &["a", "b"]);
    drop(crowd);
    highwater.kill9();

    let highwater = Highwater::start_with(dir.path(), &[KEEP], FEW);
    let mut client = highwater.connect();
    fill(&mut client, "c");
    all_is_there(&highwater, &mut client, &["a", "b", "c"]);
    highwater.stop();
    let highwater = Highwater::start_with(dir.path(), &[KEEP], FEW);
    let log = highwater.log();
    assert!(log.contains("clean=true"), "{log}");
    all_is_there(&highwater, &mut highwater.connect(), &["a", "b", "c"]);
    highwater.stop();
}

#[test]
fn cached_writes_give_up_their_handles() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start_with(dir.path(), &[KEEP, "log.write.caching=true"], FEW);
    let mut client = highwater.connect();
    client.create_with("t", PARTITIONS, 1);
    fill(&mut client, "a");
    fill(&mut client, "b");
    all_is_there(&highwater, &mut client, &["a", "b"]);
    highwater.stop();
}

#[test]
fn a_recovery_without_handles_ends_the_start_and_damages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Each record in a segment of its own.
    let sets = [KEEP, "log.roll.ms=1", "log.roll.jitter.ms=0"];
    let highwater = Highwater::start(dir.path(), &sets);
    let mut client = highwater.connect();
    client.create("t");
    for at in 0..150 {
        assert_eq!(client.produce_at("t", 1_000_000 + at * 1_000, "v"), 0);
    }
    highwater.kill9();
    // Nothing is known to be on disk: recovery has to read all segments, and to flush them together.
    std::fs::remove_file(dir.path().join("flush-point")).unwrap();

    let mut few = Highwater::spawn_with(dir.path(), &sets, FEW);
    let (_, status) = few.wait();
    let log = few.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("200 open files are too few to recover the logs"), "{log}");

    let highwater = Highwater::start(dir.path(), &sets);
    assert_eq!(highwater.connect().values_of("t", 0).len(), 150);
    assert!(!highwater.log().contains("replica is offline"));
    highwater.stop();
}
