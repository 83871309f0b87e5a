//! Several coordinators behind several brokers: groups live on when shards move, whatever the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[allow(dead_code)]
#[path = "../process/client.rs"]
mod client;
mod cluster;
mod decommission;
mod member;
mod stale;

use std::time::Duration;

use client::Client;
use cluster::Cluster;
use member::{Member, Working};

/// Bounds of what one request may take with all its retries, for a machine that is busy with other tests: 0.1 to 0.4 s and
/// 0.6 to 0.9 s are usual.
const PLANNED: Duration = Duration::from_secs(5);
const LOST: Duration = Duration::from_secs(10);
/// Every member sends some heartbeats meanwhile: what it is told shows.
const SOME_BEATS: Duration = Duration::from_millis(100);
/// So many that both coordinators have some.
const GROUPS: usize = 12;

/// Members at work, spread over the brokers.
fn start_members(cluster: &Cluster) -> Vec<Working> {
    let address = cluster.addresses.lock().unwrap()[0];
    Client::connect(address).create_with("t", 1, 3);
    let join = |n| Member::join(&cluster.addresses, n % 3, &format!("group-{n}"));
    (0..GROUPS).map(join).map(Member::work).collect()
}

/// All of them have worked all the time, without a request that failed for good and without a rebalance.
fn finish(members: Vec<Working>) -> Duration {
    let mut longest = Duration::ZERO;
    for member in members {
        let (rounds, slowest) = member.stop();
        assert!(rounds > 3, "only {rounds} rounds");
        longest = longest.max(slowest);
    }
    longest
}

#[test]
fn members_do_not_notice_that_coordinators_come_and_go() {
    let mut cluster = Cluster::start();
    let first = cluster.start_coordinator();
    let members = start_members(&cluster);
    cluster.wait_for_load(first, 10);

    let second = cluster.start_coordinator();
    cluster.wait_for_load(second, 5);
    assert_eq!(cluster.load(first), 5);
    std::thread::sleep(SOME_BEATS);

    cluster.stop_coordinator(first);
    cluster.wait_for_load(second, 10);
    std::thread::sleep(SOME_BEATS);
    let longest = finish(members);
    assert!(longest < PLANNED, "a planned move took {longest:?}");
}

#[test]
fn members_keep_their_generation_when_a_coordinator_is_lost() {
    let mut cluster = Cluster::start();
    let (first, second) = (cluster.start_coordinator(), cluster.start_coordinator());
    let members = start_members(&cluster);
    cluster.wait_for_load(first, 5);
    cluster.wait_for_load(second, 5);
    cluster.kill_coordinator(second);
    cluster.wait_for_load(first, 10);
    std::thread::sleep(SOME_BEATS);
    let longest = finish(members);
    assert!(longest < LOST, "a lost coordinator cost {longest:?}");
}

#[test]
fn members_keep_their_generation_when_brokers_that_lead_their_shards_go() {
    let mut cluster = Cluster::start();
    let (first, second) = (cluster.start_coordinator(), cluster.start_coordinator());
    let members = start_members(&cluster);
    cluster.wait_for_load(first, 5);
    cluster.wait_for_load(second, 5);
    assert!(cluster.leads_shards(3));

    cluster.stop_broker(3);
    assert!(!cluster.leads_shards(3));
    std::thread::sleep(SOME_BEATS);
    cluster.start_broker(3);
    cluster.wait_for_full_isr();

    cluster.kill_broker(2);
    cluster.wait_for_leaders_without(2);
    std::thread::sleep(SOME_BEATS);
    let longest = finish(members);
    assert!(longest < LOST, "a lost broker cost {longest:?}");
}

#[test]
fn members_do_not_notice_that_everything_is_restarted_one_by_one() {
    let mut cluster = Cluster::start();
    let mut coordinators = [cluster.start_coordinator(), cluster.start_coordinator()];
    let members = start_members(&cluster);
    for coordinator in &mut coordinators {
        cluster.stop_coordinator(*coordinator);
        *coordinator = cluster.start_coordinator();
        cluster.wait_for_load(*coordinator, 5);
    }
    for broker in 1..=3 {
        cluster.stop_broker(broker);
        cluster.start_broker(broker);
        cluster.wait_for_full_isr();
    }
    let longest = finish(members);
    assert!(longest < PLANNED, "a restart took {longest:?}");
}
