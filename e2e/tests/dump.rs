//! Apache Kafka's own DumpLogSegments reads every file of our partitions without a complaint.

use highwater_e2e::broker::{Broker, Highwater};
use highwater_e2e::client::{Client, Driver, Membership, Settings, wait_until};
use highwater_e2e::raw::{Producer, Raw, batch};
use highwater_e2e::setup;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOPIC: &str = "dump";

fn files(dir: &Path, kind: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir)
        .expect("a partition's folder")
        .flatten()
        .map(|e| e.path());
    let mut found: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == kind)).collect();
    found.sort();
    found
}

/// Runs the tool over the files and returns what it prints.
fn dump(files: &[PathBuf], options: &[&str]) -> String {
    assert!(!files.is_empty(), "there is something to dump");
    let list: Vec<String> = files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
    let mut command = setup::java("org.apache.kafka.tools.DumpLogSegments");
    command.args(options).args(["--files", &list.join(",")]);
    let output = command.output().expect("java starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "DumpLogSegments ended with {}:\n{text}",
        output.status
    );
    for complaint in [
        "Mismatches in",
        "Found timestamp mismatch",
        "Found out of order",
        "isvalid: false",
        "Exception",
        "corrupt",
    ] {
        let lines: Vec<&str> = text.lines().filter(|l| l.contains(complaint)).collect();
        assert!(lines.is_empty(), "DumpLogSegments complains: {lines:?}");
    }
    text
}

/// The offsets of all records it lists.
fn offsets(text: &str) -> Vec<i64> {
    let of = |line: &str| line.strip_prefix("| offset: ")?.split(' ').next()?.parse().ok();
    text.lines().filter_map(of).collect()
}

/// Fills a partition with every kind of batch, over several segments.
fn fill(broker: &Broker) -> i64 {
    broker
        .raw()
        .create(
            TOPIC,
            1,
            &[("segment.bytes", "1048576"), ("index.interval.bytes", "1024")],
        )
        .expect("create");
    let mut client = Driver::java(&broker.bootstrap());
    let mut sent = 0;
    for round in 0..3 {
        for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
            for idempotent in [false, true] {
                let noise = || (0..20).map(|_| uuid::Uuid::new_v4().to_string()).collect::<String>();
                let value = |i: usize| format!("{round} {i} {}", noise());
                let records: Vec<_> = (0..200).map(|i| (Some(format!("k{i}")), value(i))).collect();
                client.produce(
                    TOPIC,
                    Settings {
                        idempotent,
                        compression,
                        ..Settings::default()
                    },
                    &records,
                );
                sent += 200;
            }
        }
    }
    let membership = Membership {
        max_poll_records: 500,
        auto_commit: false,
        ..Membership::new(TOPIC, "dump", Duration::from_secs(6))
    };
    let mut member = client.member(&membership);
    wait_until("the group has read all", Duration::from_secs(30), || {
        member.told(|t| t.seen.len() as i64 == sent)
    });
    member.close();
    sent
}

#[test]
fn kafka_reads_our_segments_and_indexes() {
    let mut broker = Broker::start(&[("group.initial.rebalance.delay.ms", "0")]);
    let sent = fill(&broker);
    let log_dir = broker.log_dir();
    let dir = log_dir.join(format!("{TOPIC}-0"));

    // While it runs: the segments; the tail of an index may still be in memory.
    let live = dump(&files(&dir, "log"), &["--print-data-log"]);
    assert_eq!(offsets(&live), (0..sent).collect::<Vec<_>>());
    broker.stop();

    let logs = files(&dir, "log");
    assert!(logs.len() >= 3, "several segments, not {}", logs.len());
    let whole = dump(&logs, &["--print-data-log"]);
    assert_eq!(offsets(&whole), (0..sent).collect::<Vec<_>>());
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        assert!(
            whole.contains(&format!("compresscodec: {codec}")),
            "{codec} batches are there"
        );
    }
    let indexes = [files(&dir, "index"), files(&dir, "timeindex")].concat();
    assert!(indexes.len() >= 2 * (logs.len() - 1));
    let plain = dump(&indexes, &[]);
    let entries = plain
        .lines()
        .filter(|l| l.starts_with("offset: ") || l.starts_with("timestamp: "))
        .count();
    assert!(
        entries > 50,
        "sparse indexes over {} segments hold more than {entries} entries",
        logs.len()
    );
    let sane = dump(&indexes, &["--index-sanity-check"]);
    assert_eq!(sane.matches("passed sanity check").count(), indexes.len(), "{sane}");
    dump(&files(&dir, "snapshot"), &[]);

    let groups: Vec<PathBuf> = std::fs::read_dir(&log_dir)
        .expect("the log dir")
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("__consumer_offsets-"))
        .flat_map(|e| files(&e.path(), "log"))
        .filter(|p| p.metadata().is_ok_and(|m| m.len() > 0))
        .collect();
    let commits = dump(&groups, &["--offsets-decoder"]);
    assert!(
        commits.contains("\"group\":\"dump\"") && commits.contains(&format!("\"offset\":{sent}")),
        "{commits}"
    );
}

/// Bytes up to where whole batches reach, and the length of the file.
fn extent(segment: &Path) -> (usize, usize) {
    let bytes = std::fs::read(segment).expect("the segment");
    let mut end = 0;
    while let Some(length) = bytes.get(end + 8..end + 12) {
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        match usize::try_from(length) {
            Ok(length) if length > 0 && end + 12 + length <= bytes.len() => end += 12 + length,
            _ => break,
        }
    }
    (end, bytes.len())
}

/// What is filled ahead of batches (`docs/decisions/0002-flush-path.md`) is taken for nothing else: not by Kafka's tool
/// while the broker runs or after it was killed, not by the next start.
#[test]
fn what_is_filled_ahead_of_batches_is_taken_for_nothing_else() {
    let mut highwater = Highwater::new();
    highwater.start();
    let mut raw = highwater.raw();
    raw.create(TOPIC, 1, &[]).expect("create");
    let produce = |raw: &mut Raw, count: usize| {
        for i in 0..count {
            let (code, _) = raw
                .produce(TOPIC, 0, batch(&[(None, &format!("value {i}"))], Producer::NONE))
                .expect("an answer");
            assert_eq!(code, 0);
        }
    };
    produce(&mut raw, 50);
    let segment = files(&highwater.log_dir().join(format!("{TOPIC}-0")), "log").remove(0);
    highwater.kill9();
    let (end, length) = extent(&segment);
    assert!(
        length > end,
        "{length} bytes, all of them batches: the test would prove nothing"
    );
    let killed = dump(std::slice::from_ref(&segment), &["--print-data-log"]);
    assert_eq!(offsets(&killed), (0..50).collect::<Vec<_>>());

    let before = highwater.log().len();
    highwater.start();
    let log = highwater.log().split_off(before);
    assert!(log.contains("short=0 offline=0 missing=0"), "{log}");
    for complaint in ["ERROR", "corrupt", "cut"] {
        assert!(
            !log.contains(complaint),
            "a start after kill -9 says {complaint}:\n{log}"
        );
    }
    assert_eq!(extent(&segment), (end, end), "the start cuts it off");
    let mut raw = highwater.raw();
    assert_eq!(raw.records(TOPIC, 0).expect("records").len(), 50);
    produce(&mut raw, 50);
    assert!(highwater.terminate().success());
    let (end, length) = extent(&segment);
    assert_eq!(end, length, "and so does a clean stop");
    let stopped = dump(std::slice::from_ref(&segment), &["--print-data-log"]);
    assert_eq!(offsets(&stopped), (0..100).collect::<Vec<_>>());
}
