//! Opening after clean and unclean stops, with damage of every kind.

use highwater_proto::record::stamp;

use super::*;

/// A log of 40 batches of one record each over several segments, flushed up to `flushed`, and its batches.
fn written(disk: &Disk, flushed: i64) -> Vec<Batch> {
    let (mut log, _) = disk.open(&config());
    for i in 0..40 {
        append_in(&mut log, i / 15, &batch(i as u64, 1));
        if i64::from(i) + 1 == flushed {
            flush(&mut log);
        }
    }
    assert!(log.segment_count() > 3);
    log.log_dir.write_flush_points().unwrap();
    read_all(&log)
}

/// Path of the segment that holds `offset`, and where in it the batch of the offset starts.
fn position(disk: &Disk, batches: &[Batch], offset: i64) -> (std::path::PathBuf, u64) {
    let mut bases: Vec<i64> = disk
        .names()
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .collect();
    bases.sort_unstable();
    let base = bases[bases.partition_point(|base| *base <= offset) - 1];
    let before = batches
        .iter()
        .filter(|b| (base..offset).contains(&b.header.base_offset.0));
    (
        disk.path(&format!("{base:020}.log")),
        before.map(|batch| batch.size() as u64).sum(),
    )
}

fn overwrite(path: &std::path::Path, position: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, position)
        .unwrap();
}

#[test]
fn an_unclean_stop_finds_everything_again() {
    let disk = Disk::new();
    let batches = written(&disk, 20);
    let (log, recovery) = disk.open(&config());
    assert_eq!(read_all(&log), batches);
    assert_eq!(
        (recovery.cut_bytes, recovery.removed_segments, recovery.short),
        (0, 0, None)
    );
    let flushed_segments = log.segments.iter().filter(|segment| segment.base <= Offset(20)).count() - 1;
    assert_eq!(
        recovery.rebuilt_indexes,
        log.segment_count() - flushed_segments,
        "flushed segments are not read"
    );
    assert_eq!(log.end_offset_for(LeaderEpoch(1)).map(|e| e.end), Some(Offset(30)));
    assert_eq!(log.last_epoch(), Some(LeaderEpoch(2)));
}

#[test]
fn leader_epochs_whose_checkpoint_is_lost_are_read_from_the_batches() {
    for clean in [true, false] {
        let disk = Disk::new();
        // What was not flushed has an epoch of its own.
        let batches = written(&disk, 30);
        if clean {
            close(disk.open(&config()).0);
        }
        let (log, _) = disk.open(&config());
        let epochs = log.leader_epochs().clone();
        assert_eq!(epochs.entries().len(), 3);
        drop(log);
        if clean {
            close(disk.open(&config()).0);
        }
        let checkpoint = disk.path("leader-epoch-checkpoint");
        std::fs::remove_file(&checkpoint).unwrap();
        for round in 0..2 {
            let (mut log, _) = disk.open(&config());
            assert_eq!(log.log_start(), Offset(0));
            assert_eq!(*log.leader_epochs(), epochs);
            assert_eq!(read_all(&log), batches);
            flush(&mut log);
            assert!(checkpoint.exists(), "round {round}");
        }
    }
}

#[test]
fn records_below_the_first_epoch_of_the_checkpoint_stay() {
    let disk = Disk::new();
    let batches = written(&disk, 30);
    let (mut log, _) = disk.open(&config());
    let epochs = log.leader_epochs().clone();
    flush(&mut log);
    drop(log);
    // As a start of an older version left it that had lost the file.
    std::fs::write(disk.path("leader-epoch-checkpoint"), "0\n1\n2 30\n").unwrap();
    let (log, _) = disk.open(&config());
    assert_eq!((log.log_start(), read_all(&log)), (Offset(0), batches));
    assert_eq!(*log.leader_epochs(), epochs);
}

#[test]
fn missing_and_damaged_indexes_are_rebuilt_and_extra_ones_removed() {
    for clean in [true, false] {
        let disk = Disk::new();
        let batches = written(&disk, 40);
        let (log, _) = disk.open(&config());
        close(log);
        let contents = |disk: &Disk| -> Vec<Vec<u8>> {
            let indexes = disk.names().into_iter().filter(|name| name.ends_with("index"));
            indexes.map(|name| std::fs::read(disk.path(&name)).unwrap()).collect()
        };
        let before = contents(&disk);
        std::fs::remove_file(disk.path("00000000000000000000.index")).unwrap();
        let (active, _) = position(&disk, &batches, 39);
        std::fs::write(active.with_extension("timeindex"), [1; 7]).unwrap();
        std::fs::write(disk.path("00000000000000009999.index"), [0; 8]).unwrap();
        std::fs::write(disk.path("leader-epoch-checkpoint.tmp"), "0\n").unwrap();
        if !clean {
            std::fs::remove_file(disk.temp.path().join(".kafka_cleanshutdown")).unwrap();
        }
        let (log, recovery) = disk.open(&config());
        assert!(recovery.rebuilt_indexes >= if clean { 2 } else { 1 });
        assert_eq!(read_all(&log), batches);
        for timestamp in [NOW.0, NOW.0 + 1] {
            let found = log.offset_for_timestamp(TimestampMs(timestamp), &Plain).unwrap();
            assert_eq!(found.map(|f| f.offset), (timestamp == NOW.0).then_some(Offset(0)));
        }
        close(log);
        assert_eq!(contents(&disk), before);
        assert!(
            !disk
                .names()
                .iter()
                .any(|name| name.ends_with(".tmp") || name.contains("9999"))
        );
    }
}

#[test]
fn above_the_flush_point_the_first_bad_batch_ends_the_log() {
    type Damage = fn(&std::path::Path, u64, &Batch);
    let damages: [(&str, Damage); 6] = [
        ("torn", |path, at, _| {
            std::fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(at + 70)
                .unwrap()
        }),
        ("zeroed", |path, at, batch| overwrite(path, at, &vec![0; batch.size()])),
        ("a flipped bit", |path, at, batch| {
            overwrite(path, at + batch.size() as u64 - 3, b"#")
        }),
        ("a huge length", |path, at, _| {
            overwrite(path, at + 8, &i32::MAX.to_be_bytes())
        }),
        ("an offset that does not follow", |path, at, batch| {
            let mut bytes = batch.to_bytes().to_vec();
            stamp(&mut bytes, batch.header.base_offset.plus(1), batch.header.leader_epoch);
            overwrite(path, at, &bytes);
        }),
        ("a leader epoch that falls", |path, at, batch| {
            let mut bytes = batch.to_bytes().to_vec();
            stamp(&mut bytes, batch.header.base_offset, LeaderEpoch(0));
            overwrite(path, at, &bytes);
        }),
    ];
    for (what, damage) in damages {
        for bad in [20, 23, 31, 39] {
            let disk = Disk::new();
            let batches = written(&disk, 20);
            let (path, at) = position(&disk, &batches, bad);
            damage(&path, at, &batches[bad as usize]);
            let (mut log, recovery) = disk.open(&config());
            assert_eq!(read_all(&log), batches[..bad as usize], "{what} at {bad}");
            assert_eq!(recovery.short, None);
            assert_eq!(append_in(&mut log, 9, &batch(77, 1)).base_offset, Offset(bad), "{what}");
            drop(log);
            let (log, _) = disk.open(&config());
            assert_eq!(log.log_end(), Offset(bad + 1));
            assert_eq!(log.end_offset_for(LeaderEpoch(8)).map(|e| e.end), Some(Offset(bad)));
        }
    }
}

#[test]
fn below_the_flush_point_damage_is_an_error_and_nothing_is_touched() {
    for bad in [20, 23, 31, 38] {
        let disk = Disk::new();
        let batches = written(&disk, 40);
        let (path, at) = position(&disk, &batches, bad);
        overwrite(&path, at, &[0; 61]);
        let before = std::fs::read(&path).unwrap();
        match try_open(&disk.start(), &config()) {
            Err(error) => assert!(matches!(error, LogError::Corrupt { .. }), "offset {bad}: {error}"),
            // Of segments below the flush point only the end is read at start; who reads the batch finds out.
            Ok((log, _)) => {
                assert_ne!(path, position(&disk, &batches, 39).0);
                let read = log.read(Offset(bad), 1, log.log_end(), true);
                assert!(matches!(read, Err(LogError::Corrupt { .. })), "offset {bad}");
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_flushed_segment_that_is_missing_is_an_error() {
    let disk = Disk::new();
    let batches = written(&disk, 40);
    let (path, _) = position(&disk, &batches, 12);
    std::fs::remove_file(path).unwrap();
    assert!(matches!(
        try_open(&disk.start(), &config()),
        Err(LogError::Corrupt { .. })
    ));
}

#[test]
fn a_directory_without_metadata_was_never_flushed_and_another_topics_is_refused() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    append(&mut log, &batch(0, 1));
    drop(log);
    std::fs::write(disk.path("partition.metadata"), "version: 0\ntopic").unwrap();
    let log_dir = disk.start();
    let (mut log, _) = try_open(&log_dir, &config()).unwrap();
    assert_eq!(log.log_end(), Offset(0));
    assert_eq!(log_dir.inventory().unwrap().stray.len(), 1);
    append(&mut log, &batch(0, 1));
    flush(&mut log);
    log_dir.write_flush_points().unwrap();
    drop((log, log_dir));

    let log_dir = disk.start();
    let other = TopicId(Uuid::from_u128(0x5678));
    let opened = Log::open(&log_dir, "topic", PartitionIndex(0), other, config(), NOW);
    assert!(matches!(opened, Err(LogError::ForeignTopicId { found: TOPIC_ID, .. })));
    log_dir.move_aside("topic-0").unwrap();
    let (log, recovery) = Log::open(&log_dir, "topic", PartitionIndex(0), other, config(), NOW).unwrap();
    assert_eq!(
        (log.log_end(), recovery.short),
        (Offset(0), None),
        "the other topic's flush point does not count"
    );
}

#[test]
fn an_idle_partition_costs_less_than_8_kib() {
    let disk = Disk::new();
    written(&disk, 40);
    let (log, _) = disk.open(&config());
    close(log);
    let (log, _) = disk.open(&config());
    // A slot of the handle cache per file, beside what the structures hold themselves.
    let segment = size_of::<super::super::segment::Segment>() + 3 * 64;
    let bytes = size_of::<Log>() + log.segments.capacity() * segment + log.dir.capacity();
    assert!(log.segment_count() > 3);
    assert!(bytes < 8192, "{bytes} bytes for {} segments", log.segment_count());
}
