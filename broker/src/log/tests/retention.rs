//! Retention, DeleteRecords and deletion.

use super::*;

/// Ten segments of ten records each, one second apart.
fn written(disk: &Disk, config: &Arc<LogConfig>) -> Log {
    let (mut log, _) = disk.open(config);
    for i in 0..100 {
        let mut builder = BatchBuilder::new();
        builder
            .append(TimestampMs(NOW.0 + i * 1000), None, Some(&[b'v'; 20]), &[])
            .unwrap();
        append(&mut log, &builder.build().unwrap());
        if i % 10 == 9 && i < 99 {
            log.roll(NOW).unwrap();
        }
    }
    assert_eq!(log.segment_count(), 10);
    log
}

fn starts(disk: &Disk) -> Vec<i64> {
    disk.names()
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .collect()
}

/// Retention at `seconds` after the first record.
fn retain(log: &mut Log, seconds: i64, high_watermark: i64) -> usize {
    let retired = log
        .retention(TimestampMs(NOW.0 + seconds * 1000), Offset(high_watermark))
        .unwrap();
    let count = retired.len();
    set_segments_aside(std::slice::from_ref(&retired)).unwrap();
    remove_segments(&[retired]).unwrap();
    count
}

#[test]
fn by_time_oldest_first_and_never_above_the_high_watermark() {
    let disk = Disk::new();
    let mut log = written(&disk, &with(|c| c.retention_ms = Some(secs(60))));
    assert_eq!(retain(&mut log, 69, 100), 0, "as old as the limit is not older");
    assert_eq!(retain(&mut log, 70, 9), 0);
    assert_eq!(retain(&mut log, 70, 10), 1);
    assert_eq!((log.log_start(), starts(&disk)[0]), (Offset(10), 10));
    assert_eq!(retain(&mut log, 120, 45), 3);
    assert!(matches!(
        log.read(Offset(39), 1, Offset(100), true),
        Err(LogError::OffsetOutOfRange { .. })
    ));
    assert_eq!(
        retain(&mut log, 1000, 100),
        6,
        "a new active segment takes the place of the last one"
    );
    assert_eq!(
        (log.log_start(), log.log_end(), starts(&disk)),
        (Offset(100), Offset(100), vec![100])
    );
    assert_eq!(retain(&mut log, 9000, 100), 0, "an empty active segment stays");
    drop(log);
    let (log, _) = disk.open(&config());
    assert_eq!((log.log_start(), log.log_end()), (Offset(100), Offset(100)));
}

#[test]
fn by_size_without_going_below_the_limit() {
    let disk = Disk::new();
    let mut log = written(&disk, &with(|c| c.retention_ms = None));
    let segment = log.size() / 10;
    log.set_config(with(|c| {
        (c.retention_ms, c.retention_bytes) = (None, Some(segment * 7 + 1))
    }));
    assert_eq!(retain(&mut log, 0, 100), 2);
    log.set_config(with(|c| {
        (c.retention_ms, c.retention_bytes) = (None, Some(segment * 7))
    }));
    assert_eq!(retain(&mut log, 0, 100), 1);
    log.set_config(with(|c| {
        (c.retention_ms, c.retention_bytes, c.delete) = (None, Some(0), false)
    }));
    assert_eq!(retain(&mut log, 0, 100), 0, "compacted only");
}

#[test]
fn deleted_records_stay_deleted_and_their_segments_go() {
    let disk = Disk::new();
    let mut log = written(&disk, &config());
    assert!(matches!(
        log.raise_log_start(Offset(101)),
        Err(LogError::OffsetOutOfRange { .. })
    ));
    assert!(log.raise_log_start(Offset(34)).unwrap());
    assert!(!log.raise_log_start(Offset(12)).unwrap());
    assert_eq!(log.leader_epochs().earliest().map(|e| e.start), Some(Offset(34)));
    let slice = log.read(Offset(34), 1, Offset(100), true).unwrap().unwrap();
    let retired = log.retention(NOW, Offset(100)).unwrap();
    assert_eq!(retired.len(), 3);
    let checkpoint = || std::fs::read_to_string(disk.temp.path().join("log-start-offset-checkpoint"));
    let deleted = || {
        disk.names()
            .iter()
            .filter(|name| name.ends_with(".log.deleted"))
            .count()
    };
    set_segments_aside(std::slice::from_ref(&retired)).unwrap();
    assert_eq!(deleted(), 3, "they stay for file.delete.delay.ms");
    remove_segments(&[retired]).unwrap();
    assert_eq!(deleted(), 0);
    assert_eq!(checkpoint().unwrap(), "0\n1\ntopic 0 34\n");
    assert!(slice.to_bytes().is_ok());

    // A crash brings one of the removed files back.
    std::fs::write(disk.path("00000000000000000010.log"), "anything").unwrap();
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    drop(log);
    let (log, _) = disk.open(&config());
    assert_eq!(
        (log.log_start(), log.log_end(), starts(&disk)[0]),
        (Offset(34), Offset(100), 30)
    );
}

#[test]
fn a_deleted_log_is_out_of_the_way_at_once() {
    let disk = Disk::new();
    let log = written(&disk, &config());
    let log_dir = Arc::clone(&log.log_dir);
    let slice = log.read(Offset(0), 1, Offset(100), true).unwrap().unwrap();
    let deleted = log.delete().unwrap().unwrap();
    assert!(deleted.path().to_str().unwrap().ends_with("-delete"));
    let (log, recovery) = try_open(&log_dir, &config()).unwrap();
    assert_eq!((log.log_end(), recovery.short), (Offset(0), None));
    assert!(slice.to_bytes().is_ok(), "a reader goes on");
    assert_eq!(
        log_dir.inventory().unwrap().deleted,
        [deleted.path()],
        "the next start finishes it"
    );
    deleted.remove().unwrap();
    assert!(log_dir.inventory().unwrap().deleted.is_empty());
    assert!(log.delete().unwrap().is_none(), "nothing was ever written");
}
