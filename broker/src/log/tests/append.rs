//! Appending, rolling, reading and looking up.

use super::*;

#[test]
fn nothing_is_on_disk_before_the_first_append() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    assert!(!disk.path("").exists());
    assert!(log.append_creates_files(1, NOW, NOW));
    append(&mut log, &batch(0, 1));
    assert!(!log.append_creates_files(1, NOW, NOW));
    assert_eq!(disk.names(), ["00000000000000000000.log", "partition.metadata"]);
}

#[test]
fn offsets_and_epochs_are_stamped_and_all_else_is_the_clients() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    let sent: Vec<Batch> = (0..40).map(|i| batch(i, 1 + i as i64 % 4)).collect();
    let mut expected = 0;
    for (i, batch) in sent.iter().enumerate() {
        let appended = append_in(&mut log, i as i32 / 10, batch);
        assert_eq!(appended.base_offset, Offset(expected));
        expected = appended.last_offset.0 + 1;
    }
    assert!(log.segment_count() > 3);
    let read = read_all(&log);
    assert_eq!(read.len(), sent.len());
    for (i, (read, sent)) in read.iter().zip(&sent).enumerate() {
        assert_eq!(read.records, sent.records);
        assert_eq!(read.header.leader_epoch, LeaderEpoch(i as i32 / 10));
        assert!(read.verify_crc());
    }
    let ends: Vec<_> = (0..5)
        .map(|epoch| log.end_offset_for(LeaderEpoch(epoch)).map(|e| e.end))
        .collect();
    let base = |at: usize| Some(read[at].header.base_offset);
    assert_eq!(ends, [base(10), base(20), base(30), Some(log.log_end()), None]);
}

#[test]
fn a_list_of_batches_is_one_append() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    let appended = log
        .append_as_leader(&[batch(0, 2), batch(1, 3)], LeaderEpoch(1), NOW)
        .unwrap();
    assert_eq!((appended.base_offset, appended.last_offset), (Offset(0), Offset(4)));
    let many: Vec<Batch> = (0..20).map(|i| batch(i, 1)).collect();
    let refused = log.append_as_leader(&many, LeaderEpoch(1), NOW);
    assert!(matches!(refused, Err(LogError::BatchesTooLarge { limit: 1000, .. })));
    assert_eq!(log.log_end(), Offset(5));
}

#[test]
fn a_follower_keeps_offsets_and_refuses_gaps_and_falling_epochs() {
    let disk = Disk::new();
    let (mut leader, _) = disk.open(&config());
    for i in 0..30 {
        append_in(&mut leader, 1 + i / 10, &batch(i as u64, 2));
    }
    let copied = read_all(&leader);
    let other = Disk::new();
    let (mut follower, _) = other.open(&config());
    let appended = follower.append_as_follower(&copied, NOW).unwrap();
    assert_eq!(
        (appended.base_offset, appended.last_offset.plus(1)),
        (Offset(0), leader.log_end())
    );
    assert_eq!(read_all(&follower), copied);
    assert!(follower.segment_count() > 2, "the copy is split over segments");
    assert_eq!(follower.leader_epochs(), leader.leader_epochs());

    let next = |offset: i64, epoch: i32| {
        let mut batch = batch(99, 1);
        batch.header.base_offset = Offset(offset);
        batch.header.leader_epoch = LeaderEpoch(epoch);
        batch
    };
    let refused = follower.append_as_follower(&[next(60, 3), next(62, 3)], NOW);
    assert!(matches!(
        refused,
        Err(LogError::NotContiguous {
            expected: Offset(61),
            found: Offset(62)
        })
    ));
    let refused = follower.append_as_follower(&[next(60, 2)], NOW);
    assert!(matches!(
        refused,
        Err(LogError::EpochFell {
            latest: LeaderEpoch(3),
            ..
        })
    ));
    assert_eq!(follower.log_end(), Offset(60), "a refused list leaves nothing behind");
    follower.append_as_follower(&[next(60, 3)], NOW).unwrap();
    assert!(matches!(
        follower.append_as_leader(&[batch(0, 1)], LeaderEpoch(2), NOW),
        Err(LogError::EpochFell { .. })
    ));
}

#[test]
fn an_empty_follower_begins_with_the_batch_that_holds_its_start() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    log.restart_at(Offset(12), NOW).unwrap();
    let mut first = batch(0, 5);
    first.header.base_offset = Offset(10);
    first.header.leader_epoch = LeaderEpoch(0);
    log.append_as_follower(&[first], NOW).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset(10), Offset(15)));
    assert_eq!(read_all(&log).len(), 1);
}

#[test]
fn a_segment_is_closed_by_size_and_by_the_time_of_its_records() {
    let disk = Disk::new();
    let config = with(|c| (c.segment_bytes, c.segment_ms) = (100_000, secs(10)));
    let (mut log, _) = disk.open(&config);
    let at = |seconds: i64| {
        let mut builder = BatchBuilder::new();
        builder
            .append(TimestampMs(NOW.0 + seconds * 1000), None, Some(b"v"), &[])
            .unwrap();
        builder.build().unwrap()
    };
    for (seconds, segments) in [(0, 1), (5, 1), (10, 1), (11, 2), (9, 2), (21, 2), (22, 3)] {
        let batch = at(seconds);
        let creates = log.append_creates_files(batch.size() as u64, batch.header.max_timestamp, NOW);
        let appended = append(&mut log, &batch);
        assert_eq!(log.segment_count(), segments, "after the record of second {seconds}");
        assert_eq!(creates, appended.rolled || seconds == 0, "known before");
    }
    log.set_config(with(|c| c.segment_bytes = log.size() / 3));
    let appended = append(&mut log, &batch(0, 1));
    assert!(appended.rolled);
    assert_eq!(log.active_base(), appended.base_offset);
}

#[test]
fn reads_end_at_the_bound_and_at_whole_batches() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&with(|c| c.segment_bytes = 1 << 20));
    for i in 0..100 {
        append(&mut log, &batch(i, 3));
    }
    let size = log.read(Offset(0), 1 << 20, log.log_end(), true).unwrap().unwrap().len / 100;
    let batches = |offset: i64, max: u64, upper: i64| {
        log.read(Offset(offset), max, Offset(upper), false)
            .unwrap()
            .map(|slice| (slice.position / size, slice.len / size))
    };
    assert_eq!(batches(0, 1 << 20, 300), Some((0, 100)));
    for first in [0, 1, 17, 40, 98] {
        for count in [1, 2, 30, 59] {
            let found = Some((first, count.min(100 - first)));
            assert_eq!(
                batches(first as i64 * 3 + 1, count * size + size / 2, 300),
                found,
                "{first} {count}"
            );
            let upper = ((first + count).min(100) * 3) as i64;
            assert_eq!(batches(first as i64 * 3, 1 << 20, upper), found, "{first} {count}");
            assert_eq!(
                batches(first as i64 * 3, 1 << 20, (upper + 2).min(300)),
                found,
                "a batch is not cut by the bound"
            );
        }
    }
    assert_eq!(batches(5, size - 1, 300), None);
    assert_eq!(log.read(Offset(5), 1, Offset(300), true).unwrap().unwrap().len, size);
    assert_eq!(batches(5, 1 << 20, 5), None);
    assert_eq!(batches(300, 1 << 20, 300), None);
    assert!(matches!(
        log.read(Offset(301), 1, Offset(300), true),
        Err(LogError::OffsetOutOfRange { .. })
    ));
}

#[test]
fn records_are_found_by_time_across_segments_and_inside_batches() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    // Timestamps that go back and forth; record i of batch b is at 1000 + 10 * order[b] + i.
    let order: Vec<i64> = (0..60).map(|b| (b * 7) % 60).collect();
    let mut all = Vec::new();
    for start in &order {
        let mut builder = BatchBuilder::new();
        for i in 0..3 {
            let timestamp = 1000 + 10 * start + [0, 4, 2][i];
            builder
                .append(TimestampMs(timestamp), None, Some(&[b'v'; 40]), &[])
                .unwrap();
            all.push(timestamp);
        }
        append(&mut log, &builder.build().unwrap());
    }
    assert!(log.segment_count() > 3);
    log.raise_log_start(Offset(4)).unwrap();
    for timestamp in 990..1620 {
        let expected = (4..all.len())
            .find(|at| all[*at] >= timestamp)
            .map(|at| (Offset(at as i64), all[at]));
        let found = log.offset_for_timestamp(TimestampMs(timestamp), &Plain).unwrap();
        assert_eq!(
            found.map(|f| (f.offset, f.timestamp.0)),
            expected,
            "timestamp {timestamp}"
        );
    }
    let largest = max_timestamp(&log).unwrap();
    assert_eq!(largest.timestamp.0, 1594);
    assert_eq!(all[largest.offset.0 as usize], 1594);
}

#[test]
fn open_files_are_bounded_and_everything_stays_readable() {
    let disk = Disk::new();
    let log_dir = LogDir::open(disk.temp.path(), 16).unwrap();
    let open = |partition| {
        Log::open(&log_dir, "topic", PartitionIndex(partition), TOPIC_ID, config(), NOW)
            .unwrap()
            .0
    };
    let mut logs: Vec<Log> = (0..20).map(open).collect();
    for i in 0..20 {
        for log in &mut logs {
            append(log, &batch(i, 2));
        }
    }
    assert!(logs.iter().all(|log| log.segment_count() > 2));
    for log in &logs {
        assert_eq!(read_all(log).len(), 20);
        assert!(log_dir.files().open_files() <= 16);
    }
}

#[test]
fn an_append_that_the_disk_refuses_leaves_the_log_as_it_was() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    append(&mut log, &batch(0, 2));
    flush(&mut log);
    let size = log.size();
    // The handle is replaced by one that cannot be written, as on a disk that went read-only.
    let read_only = std::fs::File::open(disk.path("00000000000000000000.log")).unwrap();
    log.segments[0].replace_file(read_only);
    let refused = log.append_as_leader(&[batch(1, 2)], LeaderEpoch(0), NOW);
    assert!(matches!(refused, Err(LogError::Io { action: "write", .. })));
    assert_eq!((log.log_end(), log.size(), log.needs_flush()), (Offset(2), size, false));
    let writable = std::fs::File::options()
        .read(true)
        .write(true)
        .open(disk.path("00000000000000000000.log"));
    log.segments[0].replace_file(writable.unwrap());
    assert_eq!(append(&mut log, &batch(1, 2)).base_offset, Offset(2));
    assert_eq!(read_all(&log).len(), 2);
}

/// One record of this time in a batch whose header claims another one.
fn claiming(timestamp: i64, claimed: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    builder
        .append(TimestampMs(timestamp), None, Some(&[b'v'; 40]), &[])
        .unwrap();
    let batch = builder.build().unwrap();
    let mut header = batch.header;
    header.max_timestamp = TimestampMs(claimed);
    Batch::seal(header, batch.records)
}

#[test]
fn headers_that_claim_too_much_do_not_hide_the_largest_timestamp() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    assert!(max_timestamp(&log).is_none());
    for (timestamp, claimed, expected) in [
        (1000, 2000, (0, 1000)),
        (1500, 1500, (1, 1500)),
        (1500, 3000, (1, 1500)),
        (1400, 9000, (1, 1500)),
        (1600, 1700, (4, 1600)),
    ] {
        append(&mut log, &claiming(timestamp, claimed));
        // Also over several segments.
        for _ in 0..20 {
            append(&mut log, &claiming(10, 10));
        }
        let largest = max_timestamp(&log).map(|found| (found.offset.0, found.timestamp.0));
        assert_eq!(largest, Some((expected.0 * 21, expected.1)));
    }
    assert!(log.segment_count() > 3);
    log.raise_log_start(Offset(85)).unwrap();
    assert_eq!(max_timestamp(&log).map(|found| found.timestamp.0), Some(10));
    log.raise_log_start(log.log_end()).unwrap();
    assert!(max_timestamp(&log).is_none());
}

#[test]
fn any_number_of_false_claims_is_seen_through() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&with(|c| c.segment_bytes = 1 << 20));
    for i in 0..2500 {
        append(&mut log, &claiming(i / 10, 1_000_000 - i));
    }
    let found = max_timestamp(&log).map(|found| (found.offset.0, found.timestamp.0));
    assert_eq!(found, Some((2490, 249)), "its claim is one of the last");
}

#[test]
fn partitions_of_a_topic_take_different_shares_of_the_jitter() {
    let disk = Disk::new();
    let log_dir = disk.start();
    let rolled_at = |jitter: u64, partition: i32| {
        let config = with(|c| {
            c.segment_bytes = 1 << 20;
            (c.segment_ms, c.segment_jitter) = (secs(100), secs(jitter));
        });
        let index = PartitionIndex(partition);
        let (mut log, _) = Log::open(&log_dir, "jitter", index, TOPIC_ID, config, NOW).unwrap();
        let at = (0..=101).find(|second| {
            append(&mut log, &claiming(NOW.0 + second * 1000, NOW.0 + second * 1000));
            log.segment_count() > 1
        });
        log.delete().unwrap();
        at.unwrap()
    };
    assert_eq!([0, 1, 2].map(|partition| rolled_at(0, partition)), [101; 3]);
    let mut rolled: Vec<i64> = (0..8).map(|partition| rolled_at(60, partition)).collect();
    assert_eq!(rolled_at(60, 0), rolled[0], "a restart changes nothing");
    assert!(rolled.iter().all(|at| (40..=101).contains(at)), "{rolled:?}");
    rolled.sort_unstable();
    rolled.dedup();
    assert!(rolled.len() > 4, "{rolled:?}");
}
