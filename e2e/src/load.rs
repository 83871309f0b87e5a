//! Clients under faults: producers and members of a group over librdkafka that go on until they are stopped, and note
//! what they are told.

use crate::client::wait_until;
use crate::history::{Delivery, History, Place, Shared, number_of};
use crate::routed::Routed;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records that may wait for their acknowledgement.
const IN_FLIGHT: u64 = 500;
/// How long the last records may take to be acknowledged once nothing goes wrong any more.
const LAST: Duration = Duration::from_secs(90);

/// How long a member waits for a record.
const IDLE: Duration = Duration::from_millis(50);
/// The time between two commits.
const COMMITS: Duration = Duration::from_millis(20);

/// Errors after which a client tries again, by Kafka's own account.
const RETRIABLE: [RDKafkaErrorCode; 5] = [
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::NotCoordinator,
];

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Work {
    /// The topic they use.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// How its producer sends.
    pub delivery: Delivery,
    /// The group that reads it.
    pub group: String,
    /// How many members that has.
    pub members: usize,
    /// `session.timeout.ms` of the members.
    pub session_timeout: Duration,
    /// Whether members go on reading while a commit waits for its answer. For groups of one: else a successor may be
    /// noted first.
    pub reads_on: bool,
    /// The producer's rest after every ten records.
    pub pause: Duration,
}

impl Work {
    /// A topic of four partitions with an idempotent producer and a group of so many members.
    pub fn new(topic: &str, members: usize) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions: 4,
            delivery: Delivery::Once,
            group: format!("{topic}-readers"),
            members,
            session_timeout: Duration::from_secs(10),
            reads_on: false,
            pause: Duration::from_millis(2),
        }
    }
}

/// A producer and the members of a group, that run until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    producer: JoinHandle<u64>,
    members: Vec<JoinHandle<()>>,
    work: Work,
    /// What they were told.
    pub history: Shared,
    /// What they saw of it while it went on.
    pub seen: Arc<Seen>,
}

/// What clients saw.
#[derive(Default)]
pub struct Seen {
    /// How often a member was told to give up partitions or to take some.
    pub rebalances: AtomicU64,
    /// How often a member had to try again: librdkafka told it of a connection that broke, or that the coordinator is
    /// just moving.
    pub retries: AtomicU64,
    /// How often a member had nothing to read.
    idle: AtomicU64,
    gap: Mutex<Gap>,
    errors: Mutex<Vec<String>>,
}

/// The longest time between two acknowledgements.
#[derive(Default)]
struct Gap {
    last: Option<Instant>,
    longest: Duration,
}

impl Seen {
    fn acknowledged(&self) {
        let mut gap = self.gap.lock().expect("no holder panics");
        let now = Instant::now();
        if let Some(last) = gap.last.replace(now) {
            gap.longest = gap.longest.max(now - last);
        }
    }

    /// Waits until a member, which reads on, has been given all that its client has fetched. For a broker that is gone.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_until_all_is_read(&self) {
        // The first of them may have begun before the broker was gone.
        let enough = self.idle.load(Ordering::Relaxed) + 2;
        wait_until("the member reads what it has", Duration::from_secs(20), || {
            self.idle.load(Ordering::Relaxed) >= enough
        });
    }

    /// The longest time between two acknowledgements since this was asked last.
    ///
    /// # Panics
    /// When a client has panicked.
    pub fn take_longest_gap(&self) -> Duration {
        let mut gap = self.gap.lock().expect("no holder panics");
        let until_now = gap.last.map_or(Duration::ZERO, |last| last.elapsed());
        std::mem::take(&mut gap.longest).max(until_now)
    }

    /// Errors that librdkafka gave to a member of the group since this was asked last, but for those after which one
    /// tries again. Members go on after all of them.
    ///
    /// # Panics
    /// When a client has panicked.
    pub fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.lock().expect("no holder panics"))
    }

    fn error(&self, what: &str, error: &KafkaError) {
        if error.rdkafka_error_code().is_some_and(|code| RETRIABLE.contains(&code)) {
            self.retries.fetch_add(1, Ordering::Relaxed);
        } else {
            self.errors
                .lock()
                .expect("no holder panics")
                .push(format!("{what}: {error}"));
        }
    }
}

/// Notes every delivery.
struct Deliveries {
    history: Shared,
    seen: Arc<Seen>,
    waiting: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match result {
            Ok(m) => {
                self.seen.acknowledged();
                self.history.acknowledged((m.partition(), m.offset()), *number);
            }
            Err((e, _)) => self.history.wrong(format!("record {number} was given up: {e}")),
        }
    }
}

/// Where a member stands in the partitions that it owns. Whoever loses a partition forgets it, so that it does not commit
/// behind its successor.
struct Positions {
    next: Mutex<HashMap<i32, i64>>,
    seen: Arc<Seen>,
}

impl ClientContext for Positions {}

impl ConsumerContext for Positions {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.seen.rebalances.fetch_add(1, Ordering::Relaxed);
        self.next.lock().expect("no holder panics").clear();
    }
}

/// The settings of a client that lives through restarts: it tries again at once.
pub fn client(bootstrap: &str) -> ClientConfig {
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
    /// Starts them.
    pub fn start(bootstrap: &str, work: Work) -> Self {
        let (stop, history, seen) = (Arc::new(AtomicBool::new(false)), Shared::default(), Arc::default());
        let client = || One {
            bootstrap: bootstrap.to_owned(),
            work: work.clone(),
            history: history.clone(),
            seen: Arc::clone(&seen),
            stop: stop.clone(),
        };
        let member = |client: One| std::thread::spawn(move || client.consume_and_commit());
        let members = (0..work.members).map(|_| member(client())).collect();
        let producer = client();
        Self {
            producer: std::thread::spawn(move || producer.produce()),
            members,
            stop,
            work,
            history,
            seen,
        }
    }

    /// What they do.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Stops all, waits until every record is acknowledged, and returns how many were sent.
    ///
    /// # Panics
    /// When a client has panicked, or the last records are not acknowledged.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for member in self.members {
            member.join().expect("a consumer thread");
        }
        self.producer.join().expect("the producer thread")
    }
}

/// The numbers that went to a partition when so many were sent.
pub fn sent_to(partition: i32, sent: u64, partitions: i32) -> BTreeSet<u64> {
    (partition as u64..sent).step_by(partitions as usize).collect()
}

/// One client.
struct One {
    bootstrap: String,
    work: Work,
    history: Shared,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

impl One {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn produce(self) -> u64 {
        let waiting = Arc::new(AtomicU64::new(0));
        let context = Deliveries {
            history: self.history.clone(),
            seen: Arc::clone(&self.seen),
            waiting: waiting.clone(),
        };
        let mut config = client(&self.bootstrap);
        match self.work.delivery {
            Delivery::Once => config.set("enable.idempotence", "true"),
            Delivery::AtLeastOnce => config.set("max.in.flight", "1"),
        };
        let producer: ThreadedProducer<Deliveries> = config
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "2")
            .create_with_context(context)
            .expect("a producer");
        let mut rng = StdRng::seed_from_u64(1);
        let mut number = 0;
        while !self.is_over() {
            if waiting.load(Ordering::Relaxed) >= IN_FLIGHT {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let value = format!("{number} {}", "x".repeat(rng.random_range(0..1500)));
            let record = BaseRecord::<str, str, _>::with_opaque_to(&self.work.topic, Box::new(number))
                .partition((number % self.work.partitions as u64) as i32)
                .payload(&value);
            waiting.fetch_add(1, Ordering::Relaxed);
            producer.send(record).map_err(|(e, _)| e).expect("the queue has room");
            number += 1;
            if number.is_multiple_of(10) {
                std::thread::sleep(self.work.pause);
            }
        }
        producer.flush(LAST).expect("everything is acknowledged in the end");
        number
    }

    fn consume_and_commit(self) {
        let context = Positions {
            next: Mutex::default(),
            seen: Arc::clone(&self.seen),
        };
        let consumer: BaseConsumer<Positions> = client(&self.bootstrap)
            .set("group.id", &self.work.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", self.work.session_timeout.as_millis().to_string())
            // Often enough that one gets through between two kills: a member that is thrown out waits for its own session.
            .set("heartbeat.interval.ms", "200")
            .create_with_context(context)
            .expect("a consumer");
        consumer.subscribe(&[&self.work.topic]).expect("a subscription");
        std::thread::scope(|scope| {
            if self.work.reads_on {
                scope.spawn(|| {
                    while !self.is_over() {
                        std::thread::sleep(COMMITS);
                        self.commit(&consumer);
                    }
                });
            }
            self.consume(&consumer);
        });
    }

    fn consume(&self, consumer: &BaseConsumer<Positions>) {
        let mut since = Instant::now();
        while !self.is_over() {
            let began = Instant::now();
            let message = match consumer.poll(IDLE) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.seen.error("poll", &error);
                    continue;
                }
                None => {
                    // A rebalance ends a poll early.
                    if began.elapsed() >= IDLE {
                        self.seen.idle.fetch_add(1, Ordering::Relaxed);
                    }
                    continue;
                }
            };
            let place = (message.partition(), message.offset());
            self.history.read(place, number_of(message.payload()));
            let before = positions(consumer).insert(place.0, place.1 + 1);
            if let Some(before) = before.filter(|before| *before != place.1) {
                let after = before - 1;
                self.history
                    .wrong(format!("a consumer was given {place:?} after offset {after}"));
            }
            if !self.work.reads_on && since.elapsed() > COMMITS {
                self.commit(consumer);
                since = Instant::now();
            }
        }
    }

    /// Commits positions that moved, and notes them once they are acknowledged.
    fn commit(&self, consumer: &BaseConsumer<Positions>) {
        let committed = self.history.lock().committed.clone();
        let moved: Vec<Place> = positions(consumer)
            .iter()
            .map(|(p, o)| (*p, *o))
            .filter(|(p, o)| committed.get(p) != Some(o))
            .collect();
        if moved.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &moved {
            list.add_partition_offset(&self.work.topic, *partition, Offset::Offset(*offset))
                .expect("an offset");
        }
        match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => self.history.committed(&moved),
            Err(error) => self.seen.error("commit", &error),
        }
    }
}

fn positions(consumer: &BaseConsumer<Positions>) -> MutexGuard<'_, HashMap<i32, i64>> {
    consumer.client().context().next.lock().expect("no holder panics")
}

/// Reads the whole topic and checks it against what the clients were told.
///
/// # Panics
/// With all that is wrong.
pub fn check_log(raw: &mut Routed, work: &Work, history: &History, sent: u64) {
    history.check("on the way");
    assert_eq!(
        history.count_acknowledged(),
        sent,
        "every record is acknowledged in the end"
    );
    let mut wrong = Vec::new();
    let mut total = 0;
    for partition in 0..work.partitions {
        let records = raw.records(&work.topic, partition).expect("the whole partition");
        let numbers = sent_to(partition, sent, work.partitions);
        wrong.extend(history.check_partition(partition, &records, work.delivery, &numbers));
        let skipped = history.skipped(partition);
        if !skipped.is_empty() {
            wrong.push(format!(
                "partition {partition}: the group has committed past {skipped:?} without reading them"
            ));
        }
        total += records.len();
    }
    assert!(wrong.is_empty(), "{}:\n{}", work.topic, wrong.join("\n"));
    eprintln!(
        "{}: {sent} records sent, {total} there, {} read on the way, commits at {:?}",
        work.topic,
        history.read.len(),
        history.committed
    );
}
