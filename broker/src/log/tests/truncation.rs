//! Cutting the end off.

use super::*;

fn written(disk: &Disk) -> (Log, Vec<Batch>) {
    let (mut log, _) = disk.open(&config());
    for i in 0..40 {
        append_in(&mut log, i / 15, &batch(i as u64, 2));
    }
    let batches = read_all(&log);
    (log, batches)
}

#[test]
fn whatever_is_cut_the_rest_stays_and_goes_on() {
    for at in 0..=80 {
        let disk = Disk::new();
        let (mut log, batches) = written(&disk);
        assert_eq!(log.truncate_to(Offset(at)).unwrap(), at < 80);
        // An offset inside a batch takes the whole batch.
        let kept = at as usize / 2;
        assert_eq!(log.log_end(), Offset(kept as i64 * 2));
        assert_eq!(read_all(&log), batches[..kept]);
        assert_eq!(
            log.last_epoch(),
            (kept > 0).then(|| batches[kept - 1].header.leader_epoch)
        );
        assert_eq!(log.leader_epochs().latest().map(|e| e.epoch), log.last_epoch());
        append_in(&mut log, 9, &batch(99, 1));
        let now = read_all(&log);
        drop(log);
        let (log, _) = disk.open(&config());
        assert_eq!(read_all(&log), now, "after a restart, cut at {at}");
        let found = log.offset_for_timestamp(TimestampMs(NOW.0 + 1), &Plain).unwrap();
        assert_eq!(found.map(|f| f.offset), (kept > 0).then_some(Offset(1)));
    }
}

#[test]
fn a_log_begins_elsewhere() {
    let disk = Disk::new();
    let (mut log, _) = written(&disk);
    flush(&mut log);
    log.log_dir.write_flush_points().unwrap();
    log.restart_at(Offset(500), NOW).unwrap();
    assert_eq!(
        (log.log_start(), log.log_end(), log.flushed_end()),
        (Offset(500), Offset(500), Offset(0))
    );
    assert_eq!((log.last_epoch(), log.leader_epochs().latest()), (None, None));
    drop(log);
    let (mut log, recovery) = disk.open(&config());
    assert_eq!(
        (log.log_start(), log.log_end(), recovery.short),
        (Offset(500), Offset(500), None)
    );
    assert_eq!(append(&mut log, &batch(0, 1)).base_offset, Offset(500));
    log.truncate_to(Offset(300)).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset(300), Offset(300)));
}

#[test]
fn an_epoch_that_begins_at_the_end_goes_with_a_truncation_to_the_end() {
    let disk = Disk::new();
    let (mut log, _) = written(&disk);
    log.become_leader(LeaderEpoch(7));
    assert_eq!(log.end_offset_for(LeaderEpoch(7)).map(|e| e.end), Some(Offset(80)));
    assert!(!log.truncate_to(Offset(80)).unwrap());
    assert_eq!(log.end_offset_for(LeaderEpoch(7)), None);
}
