//! A whole cluster under random faults while producers, consumers and a group run; a checker over the complete history:
//! nothing acknowledged is lost, nothing is doubled where the producer is idempotent, order is kept, neither high
//! watermarks nor committed offsets go back, and all replicas hold the same bytes in the end.
//!
//! `HIGHWATER_FAULT_ROUNDS` sets the rounds (200), `HIGHWATER_FAULT_SECONDS` the time after which no round begins (480),
//! `HIGHWATER_FAULT_SEED` replays the choices of a failed run, `HIGHWATER_FAULT_ONLY` takes only rounds whose text
//! contains it.

use highwater_e2e::broker;
use highwater_e2e::cluster::{Cluster, Id, Kind, Plan, name};
use highwater_e2e::faults::{Fault, REPLACED, Undo, What, apply, choose, seed, undo};
use highwater_e2e::history::Delivery;
use highwater_e2e::load::{Load, Work, check_log};
use highwater_e2e::monitor::Monitor;
use highwater_e2e::power_cut::{segment, segments};
use highwater_e2e::routed::Routed;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A topic that is created and deleted again after each round.
const DECIDED: &str = "decided";
const DISK_MIB: u32 = 2048;
const ETCD_QUOTA_MIB: u32 = 16;
/// How long everything may take to be as before once a fault is over.
const RECOVERY: Duration = Duration::from_secs(90);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().expect("a number"))
}

/// The clients of one topic.
struct Clients {
    load: Load,
    monitor: Monitor,
}

impl Clients {
    fn start(cluster: &Cluster, work: Work) -> Self {
        let configs = [("segment.bytes", "1048576")];
        let mut raw = cluster.raw();
        raw.create(&work.topic, work.partitions, &configs).expect("create");
        let load = Load::start(&cluster.bootstrap(), work);
        let monitor = Monitor::start(&cluster.bootstrap(), load.work(), &load.history);
        Self { load, monitor }
    }

    /// What they and the cluster say of their group, for a failed run.
    fn state(&self, raw: &mut Routed) -> String {
        let work = self.load.work();
        let mut errors = self.load.seen.take_errors();
        errors.truncate(10);
        format!(
            "{}: the coordinator answers {:?}; {} rebalances, {} retries, errors {errors:?}, committed {:?}",
            work.group,
            raw.committed(&work.group, &work.topic, work.partitions),
            self.load.seen.rebalances.load(Ordering::Relaxed),
            self.load.seen.retries.load(Ordering::Relaxed),
            self.load.history.lock().committed
        )
    }

    /// Acknowledged records, committed offsets, answers to the monitors: each has to go on.
    fn progress(&self) -> [u64; 3] {
        let history = self.load.history.lock();
        let committed = history.committed.values().sum::<i64>();
        [history.count_acknowledged(), committed as u64, self.monitor.answers()]
    }
}

#[test]
fn nothing_is_lost_doubled_or_taken_back_whatever_fails() {
    let mut rng = StdRng::seed_from_u64(seed("HIGHWATER_FAULT_SEED"));
    let rounds = number("HIGHWATER_FAULT_ROUNDS", 200);
    let limit = Duration::from_secs(number("HIGHWATER_FAULT_SECONDS", 480));
    let only = std::env::var("HIGHWATER_FAULT_ONLY").unwrap_or_default();
    let mut cluster = Cluster::start(Plan {
        network: true,
        disk_mib: Some(DISK_MIB),
        etcd: 3,
        etcd_quota_mib: Some(ETCD_QUOTA_MIB),
        ..Plan::default()
    });
    let slowly = |topic: &str, members| Work {
        pause: Duration::from_millis(50),
        ..Work::new(topic, members)
    };
    let clients = [
        Clients::start(&cluster, slowly("once", 2)),
        Clients::start(
            &cluster,
            Work {
                delivery: Delivery::AtLeastOnce,
                ..slowly("again", 1)
            },
        ),
    ];
    let began = Instant::now();
    recover(&mut cluster, &clients, "before the first round");
    let mut done = 0;
    while done < rounds && began.elapsed() < limit {
        let faults = choose(cluster.plan(), &mut rng);
        let rest = Duration::from_millis(rng.random_range(0..1500));
        let text: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let text = text.join(", ");
        if !text.contains(&only) {
            continue;
        }
        done += 1;
        let round = format!("{:.0} s: round {done}: {text}", began.elapsed().as_secs_f64());
        eprint!("{round}");
        let start = Instant::now();
        run(&mut cluster, &faults, rest);
        recover(&mut cluster, &clients, &round);
        eprintln!(" ({:.1} s)", start.elapsed().as_secs_f64());
    }
    eprintln!("{done} rounds in {:?}", began.elapsed());
    assert!(done > 0, "no round was played");
    finish(cluster, clients);
}

/// Does all faults, one a moment after the other, and ends each when it has lasted.
fn run(cluster: &mut Cluster, faults: &[Fault], rest: Duration) {
    let mut undos: Vec<(Instant, Undo)> = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        if number > 0 {
            std::thread::sleep(rest);
        }
        undos.push((Instant::now() + fault.lasts, apply(cluster, &fault.what)));
    }
    undos.sort_by_key(|(at, _)| *at);
    for (at, todo) in undos {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        undo(cluster, todo);
    }
    for id in cluster.plan().ids() {
        ended_as_it_should(cluster, id, faults);
    }
}

/// No process ends by itself, and those that are asked to do it cleanly.
fn ended_as_it_should(cluster: &mut Cluster, id: Id, faults: &[Fault]) {
    let any = |wanted: &dyn Fn(&What) -> bool| faults.iter().any(|fault| wanted(&fault.what));
    let killed = any(&|what| match what {
        What::Kill(ids) => ids.contains(&id),
        What::EmptyDisk(other) => *other == id,
        What::KillEtcdLeader => id.0 == Kind::Etcd,
        What::PowerLoss => true,
        _ => false,
    });
    let stopped = any(&|what| matches!(what, What::Stop(other) if *other == id));
    let process = cluster.process(id);
    if stopped && process.is_running() {
        // It was asked to, but may have been busy with another fault.
        process.wait(RECOVERY);
    }
    let status = process.exited();
    let log = process.log();
    let replaced = broker::tail(&log, 5).contains(REPLACED);
    // etcd ends by the signal, and panics on purpose where its disk fails.
    let well = status.is_none_or(|status| status.success() && stopped) || killed || replaced || id.0 == Kind::Etcd;
    assert!(well, "{} ended with {status:?}:\n{}", name(id), broker::tail(&log, 40));
    assert!(
        id.0 == Kind::Etcd || !log.contains("panicked"),
        "{} panicked:\n{log}",
        name(id)
    );
}

/// Starts what does not run and waits until the cluster is as before and all clients get on.
fn recover(cluster: &mut Cluster, clients: &[Clients], round: &str) {
    cluster.start_all();
    let mut raw = cluster.raw();
    let topics = clients.iter().map(|c| c.load.work().topic.clone());
    for topic in topics.chain(["__consumer_offsets".to_owned()]) {
        raw.wait_for_isr(&topic, 3, RECOVERY);
    }
    // Somebody decides, and all brokers follow.
    let deadline = Instant::now() + RECOVERY;
    while let Err(error) = raw.create(DECIDED, 1, &[]).and_then(|()| raw.delete(DECIDED)) {
        // It may be there from an answer that came too late.
        let _ = raw.delete(DECIDED);
        assert!(Instant::now() < deadline, "{round}: nothing is decided: {error:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before: Vec<_> = clients.iter().map(Clients::progress).collect();
    let deadline = Instant::now() + RECOVERY;
    loop {
        let now: Vec<_> = clients.iter().map(Clients::progress).collect();
        let on = now
            .iter()
            .zip(&before)
            .all(|(now, before)| now.iter().zip(before).all(|(now, before)| now > before));
        for client in clients {
            client.load.history.lock().check(round);
        }
        if on {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{round}: no progress of acknowledgements, commits or answers: from {before:?} to {now:?}\n{}",
            clients.iter().map(|c| c.state(&mut raw)).collect::<Vec<_>>().join("\n")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The whole history against what is there, and the replicas against each other.
fn finish(mut cluster: Cluster, clients: [Clients; 2]) {
    let mut raw = cluster.raw();
    let mut works = Vec::new();
    for Clients { load, monitor } in clients {
        drop(monitor);
        let (work, history) = (load.work().clone(), load.history.clone());
        let sent = load.finish();
        check_log(&mut raw, &work, &history.lock(), sent);
        works.push(work);
    }
    for work in &works {
        raw.wait_for_isr(&work.topic, 3, RECOVERY);
    }
    raw.wait_for_isr("__consumer_offsets", 3, RECOVERY);
    let shards = raw.partitions("__consumer_offsets").expect("the topic");
    cluster.stop();
    // All but the shards of the two groups are empty.
    let written = (0..shards)
        .filter(|shard| same_bytes(&cluster, &format!("__consumer_offsets-{shard}")) > 0)
        .count();
    assert!((1..=2).contains(&written), "{written} partitions hold the offsets");
    for work in &works {
        for partition in 0..work.partitions {
            let bytes = same_bytes(&cluster, &format!("{}-{partition}", work.topic));
            assert!(bytes > 0, "{}-{partition} is empty", work.topic);
        }
    }
}

/// All replicas of a partition hold the same batches. How many bytes.
fn same_bytes(cluster: &Cluster, partition: &str) -> usize {
    let dirs = (0..cluster.plan().brokers).map(|broker| cluster.data_dir((Kind::Broker, broker)).join(partition));
    let logs: Vec<Vec<u8>> = dirs.map(|dir| whole_log(&dir)).collect();
    for (broker, log) in logs.iter().enumerate().skip(1) {
        let differs = logs[0].iter().zip(log).position(|(one, other)| one != other);
        assert!(
            differs.is_none() && log.len() == logs[0].len(),
            "{partition}: brokers 1 and {} differ at byte {differs:?}, lengths {} and {}",
            broker + 1,
            logs[0].len(),
            log.len()
        );
    }
    logs[0].len()
}

fn whole_log(dir: &Path) -> Vec<u8> {
    if !dir.exists() {
        return Vec::new();
    }
    let read = |base: &i64| std::fs::read(segment(dir, *base, "log")).expect("a segment");
    segments(dir).iter().flat_map(read).collect()
}
