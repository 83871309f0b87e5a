//! What is there again after the process ended, one way or another.

use crate::highwater::Highwater;

/// Produces and commits; waits until the commit is taken.
fn fill(highwater: &Highwater) {
    let mut client = highwater.connect();
    client.create("t");
    client.produce("t", &["a", "b"]);
    client.produce("t", &["c"]);
    client.find_coordinator("g");
    assert_eq!(client.committed("g", "t"), -1);
    assert_eq!(client.commit("g", -1, "", "t", 2), 0);
}

fn is_whole(highwater: &Highwater) {
    let mut client = highwater.connect();
    assert_eq!(client.values("t"), ["a", "b", "c"]);
    assert_eq!(client.committed("g", "t"), 2);
    client.produce("t", &["d"]);
    assert_eq!(client.values("t"), ["a", "b", "c", "d"]);
}

#[test]
fn after_sigterm_everything_is_there_without_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start(dir.path(), &[]);
    fill(&highwater);
    highwater.stop();
    let highwater = Highwater::start(dir.path(), &[]);
    let log = highwater.log();
    let recovered = log
        .lines()
        .find(|line| line.contains("logs recovered"))
        .expect("the line");
    assert!(
        recovered.contains("clean=true") && recovered.contains("scanned_bytes=0"),
        "{recovered}"
    );
    is_whole(&highwater);
    highwater.stop();
}

#[test]
fn after_kill_9_everything_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start(dir.path(), &[]);
    fill(&highwater);
    highwater.kill9();
    let highwater = Highwater::start(dir.path(), &[]);
    let log = highwater.log();
    let recovered = log
        .lines()
        .find(|line| line.contains("logs recovered"))
        .expect("the line");
    assert!(recovered.contains("clean=false"), "{recovered}");
    is_whole(&highwater);
    highwater.stop();
}
