//! A rolling restart of every broker, controller and coordinator under load: no error reaches a client that tries again,
//! and no group rebalances because of it.

use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Kind, Plan, name};
use highwater_e2e::generation::LoneMember;
use highwater_e2e::load::{Load, Work, check_log};
use highwater_e2e::monitor::Monitor;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const IN_SYNC: Duration = Duration::from_secs(60);

#[test]
fn a_rolling_restart_of_everything_is_not_noticed() {
    let mut cluster = Cluster::start(Plan::default());
    let work = Work::new("roll", 2);
    let mut raw = cluster.raw();
    raw.create(&work.topic, work.partitions, &[]).expect("create");
    let load = Load::start(&cluster.bootstrap(), work.clone());
    let monitor = Monitor::start(&cluster.bootstrap(), &work, &load.history);
    let member = LoneMember::join(&cluster.bootstrap(), "roll-lone");
    wait_until("both members read all partitions", Duration::from_secs(60), || {
        load.history.lock().committed.len() == work.partitions as usize
    });
    // The second member may come a moment after the first one; then the group stays as it is.
    std::thread::sleep(Duration::from_secs(3));
    let before = load.seen.rebalances.load(Ordering::Relaxed);
    load.seen.take_errors();
    load.seen.take_longest_gap();

    let order = [(Kind::Broker, 3), (Kind::Coordinator, 2), (Kind::Controller, 3)];
    let ids = order
        .iter()
        .flat_map(|(kind, count)| (0..*count).map(|number| (*kind, number)));
    for id in ids {
        raw.wait_for_isr(&work.topic, 3, IN_SYNC);
        let began = Instant::now();
        let status = cluster.process(id).terminate();
        assert!(status.success(), "{} ended with {status}", name(id));
        let stopped = began.elapsed();
        cluster.process(id).start();
        cluster.wait_ready(id);
        std::thread::sleep(Duration::from_millis(500));
        eprintln!(
            "{}: stopped in {stopped:?}, ready after {:?}, longest gap {:?}",
            name(id),
            began.elapsed(),
            load.seen.take_longest_gap()
        );
        load.history.lock().check(&format!("after the restart of {}", name(id)));
    }
    raw.wait_for_isr(&work.topic, 3, IN_SYNC);
    // A rebalance that the last restart caused shows by now.
    std::thread::sleep(Duration::from_secs(1));

    let rebalances = load.seen.rebalances.load(Ordering::Relaxed) - before;
    assert_eq!(rebalances, 0, "the group of two members was rebalanced");
    let beats = member.check();
    let errors = load.seen.take_errors();
    assert!(errors.is_empty(), "errors reached the members: {errors:?}");
    eprintln!(
        "{beats} heartbeats in one generation, {} answers to the monitors, members tried again {} times",
        monitor.answers(),
        load.seen.retries.load(Ordering::Relaxed)
    );
    drop(monitor);
    let history = load.history.clone();
    let sent = load.finish();
    check_log(&mut raw, &work, &history.lock(), sent);
}
