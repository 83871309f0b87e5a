//! kill -9 under load at random moments, many times over: what was acknowledged with acks=all is there, once, in order,
//! and committed offsets never go back. A second run damages what was not acknowledged; a third one takes the power from
//! the disk.
//!
//! `HIGHWATER_CRASH_ROUNDS` sets the rounds (50), `HIGHWATER_CRASH_SEED` replays the choices of a failed run.
//! To see the checker at work: `HIGHWATER_E2E_PEER=kafka HIGHWATER_E2E_UNFLUSHED=1` runs it against Apache Kafka as it
//! comes, which does not flush before it acknowledges; the power cut must then fail.

use highwater_e2e::broker::{Broker, is_kafka};
use highwater_e2e::client::wait_until;
use highwater_e2e::disk::Disk;
use highwater_e2e::power_cut::{check_whole, commit_end, power_cut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, DefaultConsumerContext};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 4;
const TOPIC: &str = "crash";
const GROUP: &str = "crash-readers";
/// Records that may wait for their acknowledgement.
const IN_FLIGHT: u64 = 500;

/// What the clients were told, which is what must hold.
#[derive(Default)]
struct History {
    /// The number in each acknowledged record, by partition and offset.
    acknowledged: HashMap<(i32, i64), u64>,
    /// What a consumer was given, by partition and offset: it must stay.
    read: HashMap<(i32, i64), u64>,
    /// The last acknowledged commit of each partition.
    committed: HashMap<i32, i64>,
    /// A partition and offset that the last acknowledged commit brought forward.
    last_commit: Option<(i32, i64)>,
    /// Errors that no client should have seen, and broken promises seen on the way.
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<History>>;

/// Notes every delivery.
struct Deliveries {
    history: Shared,
    waiting: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut history = self.history.lock().expect("no holder panics");
        match result {
            Ok(m) => {
                let place = (m.partition(), m.offset());
                if let Some(other) = history.acknowledged.insert(place, *number) {
                    history
                        .wrong
                        .push(format!("{place:?} was acknowledged for {other} and for {number}"));
                }
            }
            Err((e, _)) => history.wrong.push(format!("record {number} was given up: {e}")),
        }
    }
}

/// A producer and a committing consumer that run until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    producer: JoinHandle<u64>,
    consumer: JoinHandle<()>,
}

/// The settings of a client that lives through restarts: it tries again at once.
fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("retry.backoff.ms", "20")
        .set("log_level", "0");
    config
}

impl Load {
    fn start(bootstrap: &str, history: &Shared) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let producer = {
            let (bootstrap, history, stop) = (bootstrap.to_owned(), history.clone(), stop.clone());
            std::thread::spawn(move || produce(&bootstrap, &history, &stop))
        };
        let consumer = {
            let (bootstrap, history, stop) = (bootstrap.to_owned(), history.clone(), stop.clone());
            std::thread::spawn(move || consume_and_commit(&bootstrap, &history, &stop))
        };
        Self {
            stop,
            producer,
            consumer,
        }
    }

    /// Stops both and returns how many records were sent.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.consumer.join().expect("the consumer thread");
        self.producer.join().expect("the producer thread")
    }
}

fn produce(bootstrap: &str, history: &Shared, stop: &AtomicBool) -> u64 {
    let waiting = Arc::new(AtomicU64::new(0));
    let context = Deliveries {
        history: history.clone(),
        waiting: waiting.clone(),
    };
    let producer: ThreadedProducer<Deliveries> = client(bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "2")
        .create_with_context(context)
        .expect("a producer");
    let mut rng = StdRng::seed_from_u64(1);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if waiting.load(Ordering::Relaxed) >= IN_FLIGHT {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let value = format!("{number} {}", "x".repeat(rng.random_range(0..1500)));
        let record = BaseRecord::<str, str, _>::with_opaque_to(TOPIC, Box::new(number))
            .partition((number % PARTITIONS as u64) as i32)
            .payload(&value);
        waiting.fetch_add(1, Ordering::Relaxed);
        producer.send(record).map_err(|(e, _)| e).expect("the queue has room");
        number += 1;
        if number % 10 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    producer
        .flush(Duration::from_secs(60))
        .expect("everything is acknowledged in the end");
    number
}

fn consume_and_commit(bootstrap: &str, history: &Shared, stop: &AtomicBool) {
    let consumer: BaseConsumer = client(bootstrap)
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "10000")
        // Often enough that one gets through between two kills: a member that is thrown out waits for its own session.
        .set("heartbeat.interval.ms", "200")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("a subscription");
    let mut positions: HashMap<i32, i64> = HashMap::new();
    let mut since = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        let place = (message.partition(), message.offset());
        let mut h = history.lock().expect("no holder panics");
        let number = number_of(message.payload());
        if let Some(before) = h.read.insert(place, number).filter(|b| *b != number) {
            h.wrong
                .push(format!("{place:?} was read as {before} and then as {number}"));
        }
        drop(h);
        positions.insert(place.0, place.1 + 1);
        if since.elapsed() > Duration::from_millis(20) {
            commit(&consumer, &positions, history);
            since = Instant::now();
        }
    }
}

/// Commits positions that moved, and notes them once they are acknowledged.
fn commit(consumer: &BaseConsumer<DefaultConsumerContext>, positions: &HashMap<i32, i64>, history: &Shared) {
    let committed = history.lock().expect("no holder panics").committed.clone();
    let moved: Vec<(i32, i64)> = positions
        .iter()
        .map(|(p, o)| (*p, *o))
        .filter(|(p, o)| committed.get(p) != Some(o))
        .collect();
    if moved.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for (partition, offset) in &moved {
        list.add_partition_offset(TOPIC, *partition, Offset::Offset(*offset))
            .expect("an offset");
    }
    if consumer.commit(&list, CommitMode::Sync).is_ok() {
        let mut h = history.lock().expect("no holder panics");
        for (partition, offset) in &moved {
            if let Some(before) = h.committed.insert(*partition, *offset).filter(|b| b > offset) {
                h.wrong.push(format!(
                    "the group was sent back from {before} to {offset} in partition {partition}"
                ));
            }
        }
        h.last_commit = moved.first().copied();
    }
}

fn number_of(payload: Option<&[u8]>) -> u64 {
    let text = std::str::from_utf8(payload.unwrap_or_default()).unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("every value starts with its number")
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
        let found = commit_end(&broker.log_dir(), GROUP, TOPIC, partition, offset);
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
    let history = Shared::default();
    let load = Load::start(&broker.bootstrap(), &history);
    wait_until("the first commit is acknowledged", Duration::from_secs(60), || {
        history.lock().expect("no holder panics").last_commit.is_some()
    });
    if let Some(disk) = disk.as_ref().filter(|_| is_kafka()) {
        // The settings that `kafka-peer` wrote there.
        disk.sync();
    }
    for round in 1..=rounds() {
        std::thread::sleep(Duration::from_millis(rng.random_range(50..1200)));
        broker.kill9();
        // What arrived before the process was gone counts.
        std::thread::sleep(Duration::from_millis(20));
        let (before, flushed) = {
            let history = history.lock().expect("no holder panics");
            (history.committed.clone(), flushed_ends(&broker, &history))
        };
        let mut damage = Vec::new();
        if let Some(disk) = &disk {
            disk.power_cut();
        } else if power == Power::Damages {
            damage = power_cut(&broker.log_dir(), &flushed, &mut rng);
        }
        check_whole(&broker.log_dir(), &flushed);
        broker.restart();
        check_commits(&broker, &before, round, &damage);
        let wrong = history.lock().expect("no holder panics").wrong.clone();
        assert!(wrong.is_empty(), "round {round}: {wrong:?}\n{}", damage.join("\n"));
    }
    let sent = load.finish();
    check_log(&broker, &history.lock().expect("no holder panics"), sent);
}

/// The group stands where its last acknowledged commit put it, or further.
fn check_commits(broker: &Broker, before: &HashMap<i32, i64>, round: u32, damage: &[String]) {
    let mut now = Vec::new();
    wait_until("the group's coordinator answers", Duration::from_secs(20), || {
        broker
            .raw()
            .committed(GROUP, TOPIC, PARTITIONS)
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

/// Every record once, offsets without a gap, the order of each partition, and everything where the clients saw it.
fn check_log(broker: &Broker, history: &History, sent: u64) {
    assert!(history.wrong.is_empty(), "{:?}", history.wrong);
    assert_eq!(
        history.acknowledged.len() as u64,
        sent,
        "every record is acknowledged in the end"
    );
    let mut raw = broker.raw();
    let mut total = 0;
    for partition in 0..PARTITIONS {
        let records = raw.records(TOPIC, partition).expect("the whole partition");
        let mut last = None;
        for (expected, record) in records.iter().enumerate() {
            let number = number_of(record.value.as_deref());
            assert_eq!(
                record.offset, expected as i64,
                "offsets of partition {partition} have no gap"
            );
            assert!(
                last < Some(number),
                "partition {partition}: {number} comes after {last:?}"
            );
            let place = (partition, record.offset);
            assert_eq!(
                history.acknowledged.get(&place),
                Some(&number),
                "{place:?} is what was acknowledged"
            );
            if let Some(read) = history.read.get(&place) {
                assert_eq!(*read, number, "{place:?} is what was read");
            }
            last = Some(number);
        }
        total += records.len() as u64;
    }
    assert_eq!(total, sent, "every record once");
    eprintln!(
        "{sent} records, {} read on the way, commits at {:?}",
        history.read.len(),
        history.committed
    );
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
