//! Signals.

use std::time::Duration;

use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::join_group::JoinGroupRequest;
use rustix::process::Signal;

use crate::client::{fetch, join};
use crate::highwater::Highwater;

#[test]
fn sigterm_ends_cleanly_with_clients_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut highwater = Highwater::start(dir.path(), &["group.initial.rebalance.delay.ms=120000"]);
    let (_idle, mut member) = (highwater.connect(), highwater.connect());
    member.find_coordinator("g");
    // Until its shard is loaded a request is answered at once; this one then stays parked.
    assert_eq!(member.committed("g", "t"), -1);
    member.send(3, &join("g"));
    let mut witness = highwater.connect();
    witness.send(3, &join("g"));
    // Both joins are parked by then.
    std::thread::sleep(Duration::from_millis(100));

    highwater.signal(Signal::TERM);
    let told = member.receive::<JoinGroupRequest>(3).map(|answer| answer.error_code);
    assert_eq!(
        told,
        Some(16),
        "a parked member is told to look for its coordinator again"
    );
    let (took, status) = highwater.wait();
    assert_eq!(status.code(), Some(0), "{}", highwater.log());
    assert!(took < Duration::from_secs(5), "{took:?}\n{}", highwater.log());
    let again = Highwater::start(dir.path(), &[]);
    assert!(again.log().contains("clean=true"), "{}", again.log());
    again.stop();
}

#[test]
fn a_second_sigterm_ends_at_once_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut highwater = Highwater::start(dir.path(), &[]);
    let mut client = highwater.connect();
    client.create("t");
    let value = "x".repeat(900_000);
    client.produce("t", &[&value]);
    // A client that does not take its answers keeps its connection for a while.
    for _ in 0..40 {
        client.send::<FetchRequest>(11, &fetch("t", 0, 0));
    }
    std::thread::sleep(Duration::from_millis(100));
    highwater.signal(Signal::TERM);
    highwater.wait_for_log("a second signal stops at once");
    std::thread::sleep(Duration::from_millis(50));
    highwater.signal(Signal::TERM);
    let (took, status) = highwater.wait();
    assert_eq!(status.code(), Some(128 + 15), "{}", highwater.log());
    assert!(took < Duration::from_secs(1), "{took:?}");
    let again = Highwater::start(dir.path(), &[]);
    assert_eq!(again.connect().values("t"), [value]);
    again.stop();
}

#[test]
fn sigint_and_a_stop_during_the_start_end_cleanly_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut highwater = Highwater::start(dir.path(), &[]);
    highwater.signal(Signal::INT);
    assert_eq!(highwater.wait().1.code(), Some(0));

    let mut highwater = Highwater::spawn(dir.path(), &[]);
    highwater.wait_for_log("health and metrics are served");
    highwater.signal(Signal::TERM);
    let (took, status) = highwater.wait();
    assert_eq!(status.code(), Some(0), "{}", highwater.log());
    assert!(took < Duration::from_secs(5), "{took:?}");
    Highwater::start(dir.path(), &[]).stop();
}
