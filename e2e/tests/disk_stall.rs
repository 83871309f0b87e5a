//! `disk.stall.ms`: a broker whose disk takes nothing any more leads nothing and is waited for by nobody, so that producers
//! with acks=all go on soon. It is as before once its disk is.

use highwater_e2e::cluster::{Cluster, Id, Kind, Plan};
use highwater_e2e::routed::Routed;
use std::time::{Duration, Instant};

const DISK_MIB: u32 = 512;
/// `disk.stall.ms`, and as often as a broker, the controller and a client look, and the leader is asked to hand over.
const STALL: Duration = Duration::from_secs(2);
const A_BIT: Duration = Duration::from_secs(3);
/// `node.session.timeout.ms`: a broker that cannot even say so.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a client waits for an answer before it looks for the leader again.
const PATIENCE: Duration = Duration::from_millis(300);
/// A broker that has stalled is waited for again once it has been well for five times as long.
const WELL_AGAIN: Duration = Duration::from_secs(60);

fn start(devices_stall: bool) -> (Cluster, Routed) {
    let cluster = Cluster::start(Plan {
        disk_mib: Some(DISK_MIB),
        devices_stall,
        ..Plan::default()
    });
    let raw = cluster.raw().patience(PATIENCE);
    (cluster, raw)
}

fn leader(cluster: &Cluster, raw: &mut Routed, topic: &str) -> Id {
    let address = raw.leader_of(topic, 0).expect("a leader");
    (Kind::Broker, cluster.broker_at(&address))
}

/// A topic that this broker does not lead.
fn led_by_another(cluster: &Cluster, raw: &mut Routed, broker: Id) -> String {
    let mut names = (0..20).map(|number| format!("followed-{number}"));
    let found = names.find(|name| {
        raw.create(name, 1, &[]).expect("create");
        leader(cluster, raw, name) != broker
    });
    found.expect("leaders are spread")
}

#[test]
fn others_lead_soon_after_the_disk_of_a_leader_stalls() {
    let (mut cluster, mut raw) = start(true);
    raw.create("led", 1, &[]).expect("create");
    raw.wait_for_isr("led", 3, WELL_AGAIN);
    let stalled = leader(&cluster, &mut raw, "led");
    let followed = led_by_another(&cluster, &mut raw, stalled);
    raw.wait_for_isr(&followed, 3, WELL_AGAIN);
    let before = raw.produce_in("led", 0, "before", STALL);
    raw.produce_in(&followed, 0, "before", STALL);

    cluster.disk(stalled).expect("a plan with disks").stall_device();
    let began = Instant::now();
    let (mut other, topic) = (cluster.raw().patience(PATIENCE), followed.clone());
    let following = std::thread::spawn(move || {
        other.produce_in(&topic, 0, "after", STALL + A_BIT);
        began.elapsed()
    });
    let after = raw.produce_in("led", 0, "after", STALL + A_BIT);
    let led = began.elapsed();
    let following = following.join().expect("acknowledged");
    eprintln!("acknowledged {led:?} after the leader's disk stalled, {following:?} after a follower's did");
    assert!(led >= STALL / 2, "the disk did not stall: the test would prove nothing");
    assert_ne!(leader(&cluster, &mut raw, "led"), stalled);
    assert!(cluster.process(stalled).is_running(), "it waits for its disk");

    cluster.disk(stalled).expect("a plan with disks").thaw();
    for topic in ["led", &followed] {
        raw.wait_for_isr(topic, 3, WELL_AGAIN);
    }
    // What was sent to the old leader again and again may have come after all, but only before it was replaced.
    let read = raw.records("led", 0).expect("the partition");
    let value = |offset: i64| read.get(offset as usize).and_then(|r| r.value.as_deref());
    assert_eq!(
        (value(before), value(after)),
        (Some(&b"before"[..]), Some(&b"after"[..]))
    );
    cluster.stop();
}

/// Here it is writes that hang, and network workers with them.
#[test]
fn others_lead_soon_after_a_leader_is_kept_from_writing() {
    let (mut cluster, mut raw) = start(false);
    raw.create("led", 1, &[]).expect("create");
    raw.wait_for_isr("led", 3, WELL_AGAIN);
    let stalled = leader(&cluster, &mut raw, "led");
    raw.produce_in("led", 0, "before", STALL);
    cluster.disk(stalled).expect("a plan with disks").freeze();
    let began = Instant::now();
    raw.produce_in("led", 0, "after", SILENCE + A_BIT);
    eprintln!("acknowledged {:?} after the leader could not write", began.elapsed());
    assert_ne!(leader(&cluster, &mut raw, "led"), stalled);
    cluster.disk(stalled).expect("a plan with disks").thaw();
    raw.wait_for_isr("led", 3, WELL_AGAIN);
    cluster.stop();
}
