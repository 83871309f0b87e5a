//! etcd is gone for a minute: clients produce, fetch and commit as if nothing were, and what needs a decision waits.

use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Kind, Plan};
use highwater_e2e::generation::LoneMember;
use highwater_e2e::load::{Load, Work, check_log};
use highwater_e2e::monitor::Monitor;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const ETCD: (Kind, usize) = (Kind::Etcd, 0);
const OUTAGE: Duration = Duration::from_secs(60);
const REQUEST_TIMED_OUT: i16 = 7;

/// How etcd is taken away.
#[derive(Clone, Copy)]
enum Outage {
    /// Its host holds all connections and answers nothing.
    Frozen,
    /// It is gone.
    Killed,
}

fn clients_go_on(outage: Outage) {
    let mut cluster = Cluster::start(Plan::default());
    let work = Work::new("outage", 2);
    let mut raw = cluster.raw();
    raw.create(&work.topic, work.partitions, &[]).expect("create");
    let load = Load::start(&cluster.bootstrap(), work.clone());
    let monitor = Monitor::start(&cluster.bootstrap(), &work, &load.history);
    let member = LoneMember::join(&cluster.bootstrap(), "outage-lone");
    let commits = |load: &Load| load.history.lock().committed.values().sum::<i64>();
    wait_until("both members read all partitions", Duration::from_secs(60), || {
        load.history.lock().committed.len() == work.partitions as usize
    });
    // Rebalances of the start are over by then: those of the outage are counted.
    std::thread::sleep(Duration::from_secs(3));
    let rebalances = load.seen.rebalances.load(Ordering::Relaxed);
    load.seen.take_errors();
    load.seen.take_longest_gap();

    match outage {
        Outage::Frozen => cluster.process(ETCD).freeze(),
        Outage::Killed => cluster.process(ETCD).kill9(),
    }
    let began = Instant::now();
    let mut refused = None;
    while began.elapsed() < OUTAGE {
        let before = commits(&load);
        std::thread::sleep(Duration::from_secs(2));
        assert!(
            commits(&load) > before,
            "commits go on after {:?} without etcd",
            began.elapsed()
        );
        if refused.is_none() && began.elapsed() > OUTAGE / 3 {
            refused = Some(cluster.raw().any(|raw| raw.create_code("undecided", 1, -1, &[])));
        }
    }
    let (code, message) = refused.expect("it was asked").expect("an answer");
    assert_eq!(code, REQUEST_TIMED_OUT, "{message:?}");
    assert!(message.is_some_and(|text| !text.is_empty()), "the answer says why");
    match outage {
        Outage::Frozen => cluster.process(ETCD).thaw(),
        Outage::Killed => cluster.process(ETCD).start(),
    }
    let back = Instant::now();
    wait_until("topics are created again", Duration::from_secs(30), || {
        cluster.raw().create("decided", 1, &[]).is_ok()
    });
    let decided = back.elapsed();
    // What the return of etcd does to clients shows by now.
    std::thread::sleep(Duration::from_secs(1));

    let gap = load.seen.take_longest_gap();
    eprintln!("longest time between two acknowledgements {gap:?}; the first decision {decided:?} after etcd was back");
    assert!(gap < Duration::from_secs(1), "acknowledgements paused for {gap:?}");
    let errors = load.seen.take_errors();
    assert!(errors.is_empty(), "errors reached the members: {errors:?}");
    assert_eq!(
        load.seen.rebalances.load(Ordering::Relaxed),
        rebalances,
        "the group was rebalanced"
    );
    member.check();
    drop(monitor);
    let history = load.history.clone();
    let sent = load.finish();
    check_log(&mut raw, &work, &history.lock(), sent);
}

#[test]
fn clients_go_on_while_etcd_is_frozen() {
    clients_go_on(Outage::Frozen);
}

#[test]
fn clients_go_on_while_etcd_is_dead() {
    clients_go_on(Outage::Killed);
}
