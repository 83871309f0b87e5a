//! kill -9 under load at random moments, many times over: what was acknowledged with acks=all is there, once, in order,
//! and committed offsets never go back; topics that come and go meanwhile are there, or not, as was acknowledged. A second run damages what was not acknowledged; a third one takes the power from
//! the disk.
//!
//! `HIGHWATER_CRASH_ROUNDS` sets the rounds (50), `HIGHWATER_CRASH_SEED` replays the choices of a failed run.
//! To see the checker at work: `HIGHWATER_E2E_PEER=kafka HIGHWATER_E2E_UNFLUSHED=1` runs it against Apache Kafka as it
//! comes, which does not flush before it acknowledges; the power cut must then fail.

use highwater_e2e::broker::{Broker, is_kafka};
use highwater_e2e::client::wait_until;
use highwater_e2e::disk::Disk;
use highwater_e2e::history::History;
use highwater_e2e::load::{Load, Work, check_log};
use highwater_e2e::power_cut::{check_whole, commit_end, power_cut};
use highwater_e2e::topic_churn::TopicChurn;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::time::Duration;

const PARTITIONS: i32 = 4;
const TOPIC: &str = "crash";

fn work() -> Work {
    Work {
        reads_on: true,
        ..Work::new(TOPIC, 1)
    }
}

/// Up to where each partition's folder was flushed for sure: behind what was acknowledged, and behind what a consumer
/// was given, which may run ahead of an acknowledgement that waits in order behind another one of its connection.
fn flushed_ends(broker: &Broker, history: &History) -> HashMap<String, i64> {
    let mut ends: HashMap<String, i64> = HashMap::new();
    for (partition, offset) in history.acknowledged.keys().chain(history.read.keys()) {
        let end = ends.entry(format!("{TOPIC}-{partition}")).or_insert(0);
        *end = (*end).max(offset + 1);
    }
    if let Some((partition, offset)) = history.last_commit {
        let found = commit_end(&broker.log_dir(), &work().group, TOPIC, partition, offset);
        let (dir, end) = found.expect("an acknowledged commit is in the log after kill -9");
        ends.insert(dir, end);
    }
    ends
}

fn rounds() -> u32 {
    std::env::var("HIGHWATER_CRASH_ROUNDS").map_or(50, |v| v.parse().expect("HIGHWATER_CRASH_ROUNDS is a number"))
}

fn seed() -> u64 {
    let seed =
        std::env::var("HIGHWATER_CRASH_SEED").map_or_else(|_| rand::rng().random(), |v| v.parse().expect("a seed"));
    eprintln!("HIGHWATER_CRASH_SEED={seed}");
    seed
}

/// What happens to the data between kill -9 and the next start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    /// Nothing.
    Stays,
    /// What was not acknowledged is cut, zeroed or garbled at random: everything that a disk might do to it.
    Damages,
    /// The disk, a real file system, is left with what was flushed: an acknowledgement that came before its flush shows.
    Cut,
}

fn crash_rounds(power: Power) {
    let mut rng = StdRng::seed_from_u64(seed());
    let flush = [
        ("log.flush.interval.messages", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    // Kafka flushes before it acknowledges only when told to; Highwater always does.
    let settings = if is_kafka() && std::env::var("HIGHWATER_E2E_UNFLUSHED").is_err() {
        &flush
    } else {
        &flush[1..]
    };
    let disk = (power == Power::Cut).then(|| Disk::new(1024));
    let mut broker = match &disk {
        Some(disk) => Broker::start_on(settings, &disk.path()),
        None => Broker::start(settings),
    };
    broker
        .raw()
        .create(TOPIC, PARTITIONS, &[("segment.bytes", "1048576")])
        .expect("create");
    let load = Load::start(&broker.bootstrap(), work());
    let history = load.history.clone();
    let churn = TopicChurn::start(&broker.bootstrap());
    wait_until("the first commit is acknowledged", Duration::from_secs(60), || {
        history.lock().last_commit.is_some()
    });
    if let Some(disk) = disk.as_ref().filter(|_| is_kafka()) {
        // The settings that `kafka-peer` wrote there.
        disk.sync();
    }
    for round in 1..=rounds() {
        std::thread::sleep(Duration::from_millis(rng.random_range(50..1200)));
        broker.kill9();
        // What arrived before the process was gone counts, also what a client has fetched and not given out: librdkafka
        // goes on behind it when it finds the log cut off below.
        load.seen.wait_until_all_is_read();
        // Topics do not come and go before it is checked which are there.
        let topics = churn.acknowledged();
        let (before, mut flushed) = {
            let history = history.lock();
            (history.committed.clone(), flushed_ends(&broker, &history))
        };
        flushed.extend(topics.ends());
        let mut damage = Vec::new();
        if let Some(disk) = &disk {
            disk.power_cut();
        } else if power == Power::Damages {
            damage = power_cut(&broker.log_dir(), &flushed, &mut rng);
        }
        check_whole(&broker.log_dir(), &flushed);
        broker.restart();
        check_commits(&broker, &before, round, &damage);
        if let Err(error) = topics.check(&mut broker.raw()) {
            panic!("round {round}: {error:#}\n{}", damage.join("\n"));
        }
        drop(topics);
        history.lock().check(&format!("round {round}\n{}", damage.join("\n")));
    }
    assert!(churn.acknowledged().created() > 0, "topics come and go");
    drop(churn);
    let sent = load.finish();
    check_log(&mut broker.routed(), &work(), &history.lock(), sent);
}

/// The group stands where its last acknowledged commit put it, or further.
fn check_commits(broker: &Broker, before: &HashMap<i32, i64>, round: u32, damage: &[String]) {
    let mut now = Vec::new();
    wait_until("the group's coordinator answers", Duration::from_secs(20), || {
        broker
            .raw()
            .committed(&work().group, TOPIC, PARTITIONS)
            .map(|offsets| now = offsets)
            .is_ok()
    });
    for (partition, offset) in before {
        let found = now[*partition as usize];
        assert!(
            found >= *offset,
            "round {round}: partition {partition} was committed at {offset}, now {found}\n{}",
            damage.join("\n")
        );
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    crash_rounds(Power::Stays);
}

#[test]
fn nothing_acknowledged_is_lost_when_unflushed_bytes_are_damaged() {
    crash_rounds(Power::Damages);
}

#[test]
fn nothing_acknowledged_is_lost_by_a_power_cut() {
    crash_rounds(Power::Cut);
}
