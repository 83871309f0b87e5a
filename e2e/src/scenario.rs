//! What every real client must be able to do, as cases over [`Client`].
//!
//! A client's test runs them all with [`conformance`]; each case has topics and groups of its own. What the client says
//! is checked against what was sent and, by single raw requests, against what the broker holds.

mod groups;

use crate::broker::Broker;
use crate::client::{Client, From, Pair, Seen, Settings, wait_until};
use crate::raw::now_ms;
use crate::routed::Routed;
use groups::{
    auto_commit_and_restart, cooperative_members_keep_the_rest, group_survives_a_killed_member, new_group_from_latest,
    static_member_returns,
};
use kafka_protocol::records::Compression;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Properties that a broker under a client suite starts with: kcat creates topics by asking for them, and a test group
/// need not wait for further members.
pub const BROKER_SETTINGS: [(&str, &str); 2] = [("num.partitions", "4"), ("group.initial.rebalance.delay.ms", "0")];

/// Partitions of every topic of the scenario.
const PARTITIONS: i32 = 4;

/// One run of a client.
struct Run<'a> {
    client: &'a mut dyn Client,
    raw: Routed,
    /// Makes names of topics and groups unique, also on a broker that lives longer than the run.
    id: String,
}

/// Runs every case and reports all that failed.
///
/// # Panics
/// When a case failed.
pub fn conformance(client: &mut dyn Client, broker: &Broker) {
    type Case = fn(&mut Run<'_>);
    let cases: [(&str, Case); 14] = [
        ("create", create),
        ("keys_choose_the_partition", keys_choose_the_partition),
        ("records_without_keys", records_without_keys),
        ("every_acks", every_acks),
        ("idempotent", idempotent),
        ("every_compression", every_compression),
        ("from_latest", from_latest),
        ("from_a_time", from_a_time),
        ("max_poll_records", max_poll_records),
        ("group_survives_a_killed_member", group_survives_a_killed_member),
        ("auto_commit_and_restart", auto_commit_and_restart),
        ("new_group_from_latest", new_group_from_latest),
        ("static_member_returns", static_member_returns),
        ("cooperative_members_keep_the_rest", cooperative_members_keep_the_rest),
    ];
    let only = std::env::var("HIGHWATER_E2E_CASE").unwrap_or_default();
    let mut run = Run {
        client,
        raw: broker.routed(),
        id: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
    };
    let mut failed = Vec::new();
    for (name, case) in cases.into_iter().filter(|(name, _)| name.contains(&only)) {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| case(&mut run)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("case {name}: {verdict} in {:.1} s", began.elapsed().as_secs_f64());
        if result.is_err() {
            failed.push(name);
            run.raw = broker.routed();
        }
    }
    assert!(failed.is_empty(), "failed cases: {failed:?}");
}

impl Run<'_> {
    fn topic(&mut self, name: &str) -> String {
        let topic = format!("{name}-{}", self.id);
        self.client.create(&topic, PARTITIONS);
        // Usable, not only known: metadata may run ahead of the leader, which then loses what came with acks=0.
        wait_until("all partitions can be read", Duration::from_secs(20), || {
            self.raw.partitions(&topic).is_ok_and(|n| n == PARTITIONS)
                && (0..PARTITIONS).all(|p| self.raw.fetch(&topic, p).is_ok())
        });
        topic
    }

    fn produce(&mut self, topic: &str, records: &[Pair]) {
        self.client.produce(topic, Settings::default(), records);
    }

    fn read_all(&mut self, topic: &str, count: usize) -> Vec<Seen> {
        self.client.consume(topic, From::Earliest, count, 500, &[]).records
    }

    fn ends(&mut self, topic: &str) -> Vec<i64> {
        (0..PARTITIONS)
            .map(|p| self.raw.offset(topic, p, -1).expect("an end offset"))
            .collect()
    }

    fn committed(&mut self, group: &str, topic: &str) -> Vec<i64> {
        // A coordinator that is loading answers an error; then nothing is known to be committed.
        self.raw
            .committed(group, topic, PARTITIONS)
            .unwrap_or_else(|_| vec![-2; PARTITIONS as usize])
    }
}

/// `count` records with `keys` different keys, values numbered from `first`.
fn keyed(first: usize, count: usize, keys: usize) -> Vec<Pair> {
    (first..first + count)
        .map(|i| (Some(format!("key-{}", i % keys)), format!("value-{i:06}")))
        .collect()
}

fn unkeyed(first: usize, count: usize) -> Vec<Pair> {
    (first..first + count)
        .map(|i| (None, format!("value-{i:06}")))
        .collect()
}

fn as_sent(seen: &[Seen]) -> Vec<Pair> {
    let mut all: Vec<Pair> = seen.iter().map(|s| (s.key.clone(), s.value.clone())).collect();
    all.sort();
    all
}

fn sorted(records: &[Pair]) -> Vec<Pair> {
    let mut all = records.to_vec();
    all.sort();
    all
}

/// Every record once, offsets of each partition from 0 without a gap and in order, records of a key in one partition
/// and in the order they were sent (values ascend).
fn check_whole_topic(seen: &[Seen], sent: &[Pair]) {
    assert_eq!(as_sent(seen), sorted(sent), "every record once, as it was sent");
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for s in seen {
        let expected = next.entry(s.partition).or_insert(0);
        assert_eq!(
            s.offset, *expected,
            "offsets of partition {} are contiguous and in order",
            s.partition
        );
        *expected += 1;
    }
    check_keys(seen);
}

fn check_keys(seen: &[Seen]) {
    let mut home: HashMap<&str, (i32, &str)> = HashMap::new();
    for s in seen {
        let Some(key) = &s.key else { continue };
        if let Some((partition, last)) = home.insert(key, (s.partition, &s.value)) {
            assert_eq!(partition, s.partition, "{key} stays in one partition");
            assert!(last < s.value.as_str(), "{key}: {last} came before {}", s.value);
        }
    }
}

fn create(run: &mut Run<'_>) {
    let topic = run.topic("create");
    assert_eq!(run.raw.partitions(&topic).expect("metadata"), PARTITIONS);
}

fn keys_choose_the_partition(run: &mut Run<'_>) {
    let topic = run.topic("keys");
    let sent = keyed(0, 400, 20);
    let placed = run.client.produce(&topic, Settings::default(), &sent);
    let seen = run.read_all(&topic, sent.len());
    check_whole_topic(&seen, &sent);
    let used: BTreeSet<i32> = seen.iter().map(|s| s.partition).collect();
    assert!(used.len() > 1, "twenty keys spread over partitions");
    if let Some(placed) = placed {
        let at: HashMap<&str, (i32, i64)> = seen
            .iter()
            .map(|s| (s.value.as_str(), (s.partition, s.offset)))
            .collect();
        for (record, place) in sent.iter().zip(placed) {
            assert_eq!(
                at[record.1.as_str()],
                place,
                "{} lies where its acknowledgement says",
                record.1
            );
        }
    }
    // A second producer, later, sends the same keys to the same partitions.
    let more = keyed(400, 100, 20);
    run.produce(&topic, &more);
    let all = run.read_all(&topic, sent.len() + more.len());
    check_keys(&all);
}

fn records_without_keys(run: &mut Run<'_>) {
    let topic = run.topic("nokeys");
    let sent = unkeyed(0, 300);
    run.produce(&topic, &sent);
    let seen = run.read_all(&topic, sent.len());
    check_whole_topic(&seen, &sent);
    assert!(seen.iter().all(|s| s.key.is_none()));
}

fn every_acks(run: &mut Run<'_>) {
    for acks in ["0", "1", "all"] {
        let topic = run.topic(&format!("acks-{acks}"));
        let sent = keyed(0, 100, 10);
        let placed = run.client.produce(
            &topic,
            Settings {
                acks,
                ..Settings::default()
            },
            &sent,
        );
        let seen = run.read_all(&topic, sent.len());
        check_whole_topic(&seen, &sent);
        if let Some(placed) = placed {
            let told = placed.iter().filter(|(_, offset)| *offset >= 0).count();
            assert_eq!(
                told,
                if acks == "0" { 0 } else { sent.len() },
                "acks={acks}: offsets told"
            );
        }
    }
}

fn idempotent(run: &mut Run<'_>) {
    let topic = run.topic("idempotent");
    let sent = keyed(0, 300, 10);
    run.client.produce(
        &topic,
        Settings {
            idempotent: true,
            ..Settings::default()
        },
        &sent,
    );
    check_whole_topic(&run.read_all(&topic, sent.len()), &sent);
    for partition in 0..PARTITIONS {
        let mut next = 0;
        for batch in run.raw.batches(&topic, partition).expect("batches") {
            assert!(batch.producer_id >= 0, "an idempotent batch names its producer");
            assert_eq!(
                batch.base_sequence, next,
                "sequence numbers of partition {partition} follow"
            );
            next += batch.record_count;
        }
    }
}

fn every_compression(run: &mut Run<'_>) {
    let codecs = [
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (compression, stored) in codecs {
        let topic = run.topic(compression);
        let sent: Vec<Pair> = keyed(0, 200, 10)
            .into_iter()
            .map(|(k, v)| (k, format!("{v} {}", "the same again ".repeat(20))))
            .collect();
        run.client.produce(
            &topic,
            Settings {
                compression,
                ..Settings::default()
            },
            &sent,
        );
        check_whole_topic(&run.read_all(&topic, sent.len()), &sent);
        let mut batches = 0;
        for partition in 0..PARTITIONS {
            for batch in run.raw.batches(&topic, partition).expect("batches") {
                assert_eq!(
                    batch.compression, stored,
                    "the broker keeps what the producer compressed"
                );
                batches += 1;
            }
        }
        assert!(batches > 0);
    }
}

fn from_latest(run: &mut Run<'_>) {
    let topic = run.topic("latest");
    run.produce(&topic, &keyed(0, 100, 10));
    let sent = keyed(100, 50, 10);
    let seen = run.client.consume(&topic, From::Latest, sent.len(), 500, &sent).records;
    assert_eq!(as_sent(&seen), sorted(&sent), "only what came after the end");
}

fn from_a_time(run: &mut Run<'_>) {
    let topic = run.topic("time");
    run.produce(&topic, &keyed(0, 100, 10));
    std::thread::sleep(Duration::from_millis(60));
    let time = now_ms();
    std::thread::sleep(Duration::from_millis(20));
    let sent = keyed(100, 80, 10);
    run.produce(&topic, &sent);
    let seen = run
        .client
        .consume(&topic, From::Time(time), sent.len(), 500, &[])
        .records;
    assert_eq!(
        as_sent(&seen),
        sorted(&sent),
        "the records from that time on, and no other"
    );
}

fn max_poll_records(run: &mut Run<'_>) {
    let topic = run.topic("polls");
    let sent = keyed(0, 100, 10);
    run.produce(&topic, &sent);
    let consumed = run.client.consume(&topic, From::Earliest, sent.len(), 7, &[]);
    check_whole_topic(&consumed.records, &sent);
    if let Some(largest) = consumed.largest_poll {
        assert!(
            (1..=7).contains(&largest),
            "max.poll.records=7, and a poll returned {largest}"
        );
    }
}
