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
mod member;

use std::time::Duration;

use client::Client;
use cluster::Cluster;
use member::{Member, Working};

/// So many that both coordinators have some.
const GROUPS: i32 = 12;

/// Members at work, spread over the first brokers.
fn start_members(cluster: &Cluster, brokers: i32) -> Vec<Working> {
    Client::connect(cluster.address(1)).create_with("t", 1, 3);
    let join = |n| Member::join(cluster.address(1 + n % brokers), &format!("group-{n}"));
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
    let members = start_members(&cluster, 3);
    cluster.wait_for_load(first, 10);

    let second = cluster.start_coordinator();
    cluster.wait_for_load(second, 5);
    assert_eq!(cluster.load(first), 5);
    std::thread::sleep(Duration::from_millis(100));

    cluster.stop_coordinator(first);
    cluster.wait_for_load(second, 10);
    std::thread::sleep(Duration::from_millis(100));
    let longest = finish(members);
    assert!(longest < Duration::from_secs(2), "a planned move took {longest:?}");
}

#[test]
fn members_keep_their_generation_when_a_coordinator_is_lost() {
    let mut cluster = Cluster::start();
    let (first, second) = (cluster.start_coordinator(), cluster.start_coordinator());
    let members = start_members(&cluster, 3);
    cluster.wait_for_load(first, 5);
    cluster.wait_for_load(second, 5);
    cluster.kill_coordinator(second);
    cluster.wait_for_load(first, 10);
    std::thread::sleep(Duration::from_millis(100));
    let longest = finish(members);
    assert!(longest < Duration::from_secs(5), "a lost coordinator cost {longest:?}");
}

#[test]
fn members_keep_their_generation_when_brokers_that_lead_their_shards_go() {
    let mut cluster = Cluster::start();
    let (first, second) = (cluster.start_coordinator(), cluster.start_coordinator());
    let members = start_members(&cluster, 1);
    cluster.wait_for_load(first, 5);
    cluster.wait_for_load(second, 5);
    assert!(cluster.leads_shards(3));

    cluster.stop_broker(3);
    assert!(!cluster.leads_shards(3));
    std::thread::sleep(Duration::from_millis(100));
    cluster.start_broker(3);
    cluster.wait_for_full_isr();

    cluster.kill_broker(2);
    cluster.wait_for_leaders_without(2);
    std::thread::sleep(Duration::from_millis(100));
    finish(members);
}
