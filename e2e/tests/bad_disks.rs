//! Disks that are full, turn read only or hold garbage: a clear error, nothing acknowledged lost, no wrong success, and
//! what is not on them goes on.

use highwater_e2e::broker::Highwater;
use highwater_e2e::client::wait_until;
use highwater_e2e::disk::{Disk, fill};
use highwater_e2e::power_cut::{segment, segments};
use highwater_e2e::raw::{Producer, batch, topic_name, whole_batches};
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::records::RecordBatchDecoder;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const REQUEST_TIMED_OUT: i16 = 7;
const STORAGE_ERROR: i16 = 56;
/// Retriable, so that a client waits or asks again: the disk may be repaired.
const RETRIABLE: [i16; 6] = [3, 5, 6, 7, 19, STORAGE_ERROR];

/// Produces numbered records until one is refused; the values that were acknowledged, and the error code.
fn produce_until_refused(highwater: &Highwater, topic: &str, size: usize, limit: usize) -> (Vec<String>, i16) {
    let mut raw = highwater.raw();
    let mut acknowledged = Vec::new();
    for i in 0..limit {
        let value = format!("{i:06} {}", "x".repeat(size));
        let (code, _) = raw
            .produce(topic, 0, batch(&[(None, &value)], Producer::NONE))
            .expect("an answer");
        if code != 0 {
            return (acknowledged, code);
        }
        acknowledged.push(value);
    }
    panic!("{limit} records of {size} bytes were acknowledged");
}

fn values(highwater: &Highwater, topic: &str, partition: i32) -> Vec<String> {
    let records = highwater.raw().records(topic, partition).expect("the partition");
    records
        .iter()
        .map(|r| String::from_utf8(r.value.clone().unwrap_or_default().to_vec()).expect("text"))
        .collect()
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let disk = Disk::new(512);
    let mut highwater = Highwater::new().data_in(&disk.path().join("data")).to_the_brim();
    highwater.start();
    highwater.raw().create("full", 1, &[]).expect("create");
    highwater.raw().create("other", 1, &[]).expect("create");
    highwater
        .raw()
        .produce("other", 0, batch(&[(None, "before")], Producer::NONE))
        .expect("an answer");
    let filler = fill(&disk.path(), 8 << 20).expect("a filler");
    let (acknowledged, code) = produce_until_refused(&highwater, "full", 64 << 10, 4000);
    assert!(RETRIABLE.contains(&code), "a full disk is answered by {code}");
    assert!(!acknowledged.is_empty(), "8 MiB were free");
    assert_eq!(highwater.raw().brokers().expect("an answer"), 1, "it goes on serving");
    assert!(highwater.exited().is_none());
    let log = highwater.log().to_lowercase();
    assert!(log.contains("no space left"), "the log says why:\n{log}");

    highwater.kill9();
    std::fs::remove_file(filler).expect("the filler");
    highwater.start();
    let found = values(&highwater, "full", 0);
    assert_eq!(
        found[..acknowledged.len()],
        acknowledged,
        "what was acknowledged is there, in order"
    );
    assert_eq!(values(&highwater, "other", 0), ["before"]);
    let (code, _) = highwater
        .raw()
        .produce("full", 0, batch(&[(None, "after")], Producer::NONE))
        .expect("an answer");
    assert_eq!(code, 0, "with room again it takes records again");
}

#[test]
fn a_disk_that_turns_read_only_refuses_and_loses_nothing() {
    let disk = Disk::new(256);
    let mut highwater = Highwater::new().data_in(&disk.path().join("data")).to_the_brim();
    highwater.start();
    highwater.raw().create("t", 1, &[]).expect("create");
    highwater
        .raw()
        .produce("t", 0, batch(&[(None, "kept")], Producer::NONE))
        .expect("an answer");
    // As a file system does that met an error: files that are open for writing do not keep it from going read only.
    disk.emergency_read_only();
    let (acknowledged, code) = produce_until_refused(&highwater, "t", 100, 100);
    assert!(
        acknowledged.is_empty(),
        "nothing can be acknowledged that cannot be written"
    );
    assert!(RETRIABLE.contains(&code), "answered by {code}");
    assert_eq!(highwater.raw().brokers().expect("an answer"), 1, "it goes on serving");
    highwater.kill9();
    disk.repair();
    highwater.start();
    assert_eq!(values(&highwater, "t", 0)[0], "kept");
}

#[test]
fn a_full_disk_refuses_topics_and_takes_them_again() {
    let disk = Disk::new(256);
    let mut highwater = Highwater::new().data_in(&disk.path().join("data")).to_the_brim();
    highwater.start();
    highwater.raw().create("before", 1, &[]).expect("create");
    let filler = fill(&disk.path(), 256 << 10).expect("a filler");
    let wanted = CreatableTopic::default()
        .with_name(topic_name("refused"))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(1000);
    let answer = &highwater.raw().call(5, &request).expect("an answer").topics[0];
    assert_eq!(answer.error_code, REQUEST_TIMED_OUT, "it was tried for a second");
    let message = answer.error_message.as_ref().map_or("", |m| m.as_str());
    assert!(message.contains("no space left"), "the answer says why: {message}");
    let log = highwater.log();
    assert!(log.contains("no space left"), "and so does the log:\n{log}");
    assert!(highwater.exited().is_none(), "it goes on");
    assert_eq!(highwater.raw().brokers().expect("an answer"), 1, "and serves");

    std::fs::remove_file(filler).expect("the filler");
    wait_until("it creates topics again", Duration::from_secs(20), || {
        highwater.raw().create("after", 1, &[]).is_ok()
    });
    highwater.kill9();
    highwater.start();
    for name in ["before", "after"] {
        assert!(
            highwater.raw().partitions(name).expect("an answer") > 0,
            "{name} is there"
        );
    }
}

/// Two partitions `t-0` and `t-1` with 200 acknowledged records each, of which it is written down that they were
/// flushed, and the process killed. Where the batches of `t-0` start, and in which file.
fn written_and_killed(highwater: &mut Highwater) -> (PathBuf, Vec<u64>) {
    highwater.start();
    highwater.raw().create("t", 2, &[]).expect("create");
    for i in 0..200 {
        let value = format!("{i} {}", "x".repeat(500));
        for partition in 0..2 {
            let (code, _) = highwater
                .raw()
                .produce("t", partition, batch(&[(None, &value)], Producer::NONE))
                .expect("an answer");
            assert_eq!(code, 0);
        }
    }
    // Until the flush point is written down, a damaged batch looks like one that was being written.
    std::thread::sleep(Duration::from_millis(1500));
    highwater.kill9();
    let dir = highwater.log_dir().join("t-0");
    let path = segment(&dir, segments(&dir)[0], "log");
    let bytes = std::fs::read(&path).expect("the segment");
    let mut starts = vec![0];
    while starts.len() < 200 {
        let at = starts[starts.len() - 1] as usize;
        let length = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes"));
        starts.push((at + 12 + length as usize) as u64);
    }
    (path, starts)
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("the segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 0xff], at).expect("a byte");
}

#[test]
fn a_corrupt_segment_takes_its_partition_offline_and_no_other() {
    let mut highwater = Highwater::new();
    let (path, batches) = written_and_killed(&mut highwater);
    // The length of a batch in the middle: what lies behind cannot be found any more.
    flip(&path, batches[100] + 8);
    let size = path.metadata().expect("the segment").len();

    highwater.start();
    let mut raw = highwater.raw();
    let (code, _) = raw
        .produce("t", 0, batch(&[(None, "v")], Producer::NONE))
        .expect("an answer");
    assert_eq!(code, STORAGE_ERROR, "the damaged partition is offline");
    let refused = raw.fetch("t", 0, 0).expect_err("an error").to_string();
    assert!(refused.contains(&format!("error {STORAGE_ERROR}")), "{refused}");
    assert_eq!(values(&highwater, "t", 1).len(), 200, "the other one is whole");
    let (code, _) = raw
        .produce("t", 1, batch(&[(None, "v")], Producer::NONE))
        .expect("an answer");
    assert_eq!(code, 0, "and takes records");
    let log = highwater.log();
    assert!(log.contains("t-0"), "the log names the partition:\n{log}");
    let now = path.metadata().map_or(0, |m| m.len());
    assert!(
        now >= size,
        "what is left of the damaged segment is kept for its repair: {now} of {size} bytes"
    );
}

#[test]
fn a_corrupt_record_is_never_skipped_or_passed_off_as_whole() {
    let mut highwater = Highwater::new();
    let (path, batches) = written_and_killed(&mut highwater);
    // Within the records of a batch. Below the flush point a start reads headers only: whoever fetches the batch finds
    // out by its checksum.
    flip(&path, batches[100] + 200);

    highwater.start();
    let mut raw = highwater.raw();
    assert_eq!(raw.offset("t", 0, -1).expect("the end"), 200, "nothing is cut off");
    let refused = raw.records("t", 0).expect_err("a wrong checksum").to_string();
    assert!(refused.contains("redundancy check failed"), "{refused}");
    let mut behind = whole_batches(raw.fetch("t", 0, 101).expect("what lies behind"));
    let behind = RecordBatchDecoder::decode_all(&mut behind).expect("whole batches");
    let offsets: Vec<i64> = behind.iter().flat_map(|b| &b.records).map(|r| r.offset).collect();
    assert_eq!(offsets, (101..200).collect::<Vec<_>>(), "the others can be read");
}

#[test]
fn a_clean_stop_keeps_everything_and_needs_no_scan() {
    let mut highwater = Highwater::new();
    highwater.start();
    highwater.raw().create("t", 1, &[]).expect("create");
    for i in 0..50 {
        highwater
            .raw()
            .produce("t", 0, batch(&[(None, &format!("{i}"))], Producer::NONE))
            .expect("an answer");
    }
    let began = Instant::now();
    assert!(highwater.terminate().success(), "SIGTERM is a clean stop");
    assert!(began.elapsed() < Duration::from_secs(10), "and a quick one");
    highwater.start();
    assert_eq!(
        values(&highwater, "t", 0),
        (0..50).map(|i| i.to_string()).collect::<Vec<_>>()
    );
}
