//! Idempotent producers: retries, gaps, fencing, restarts.

use super::*;

fn result(log: &mut Log, batch: &Batch) -> Result<(i64, bool), String> {
    match log.append_as_leader(std::slice::from_ref(batch), LeaderEpoch(0), NOW) {
        Ok(appended) => Ok((appended.base_offset.0, appended.duplicate)),
        Err(LogError::Sequence(SequenceError::OutOfOrder { expected, .. })) => Err(format!("expected {expected}")),
        Err(LogError::Sequence(SequenceError::Fenced { current, .. })) => Err(format!("fenced by {current}")),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_last_five_batches_are_recognised_and_gaps_are_refused() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    // The first sequence of an unknown producer may be any.
    assert_eq!(result(&mut log, &from_producer(7, 0, 40, 2)), Ok((0, false)));
    for i in 1..7 {
        assert_eq!(
            result(&mut log, &from_producer(7, 0, 40 + 2 * i, 2)),
            Ok((2 * i64::from(i), false))
        );
    }
    for i in 2..7 {
        assert_eq!(
            result(&mut log, &from_producer(7, 0, 40 + 2 * i, 2)),
            Ok((2 * i64::from(i), true))
        );
    }
    assert_eq!(
        result(&mut log, &from_producer(7, 0, 42, 2)),
        Err("expected 54".to_owned()),
        "older than five"
    );
    assert_eq!(
        result(&mut log, &from_producer(7, 0, 44, 1)),
        Err("expected 54".to_owned()),
        "another batch"
    );
    assert_eq!(
        result(&mut log, &from_producer(7, 0, 56, 2)),
        Err("expected 54".to_owned()),
        "a gap"
    );
    assert_eq!(log.log_end(), Offset(14));
    let other = result(&mut log, &from_producer(8, 0, 0, 1));
    assert_eq!(other, Ok((14, false)), "producers do not know of each other");
}

#[test]
fn sequences_wrap_and_epochs_fence() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    assert_eq!(result(&mut log, &from_producer(7, 3, i32::MAX - 1, 3)), Ok((0, false)));
    assert_eq!(result(&mut log, &from_producer(7, 3, i32::MAX - 1, 3)), Ok((0, true)));
    assert_eq!(
        result(&mut log, &from_producer(7, 3, 1, 2)),
        Ok((3, false)),
        "0 was the last of the batch"
    );
    assert_eq!(
        result(&mut log, &from_producer(7, 2, 3, 1)),
        Err("fenced by 3".to_owned())
    );
    assert_eq!(
        result(&mut log, &from_producer(7, 4, 3, 1)),
        Err("expected 0".to_owned())
    );
    assert_eq!(result(&mut log, &from_producer(7, 4, 0, 1)), Ok((5, false)));
    assert_eq!(
        result(&mut log, &from_producer(7, 3, 3, 1)),
        Err("fenced by 4".to_owned())
    );
}

#[test]
fn several_batches_of_a_producer_in_one_append_follow_each_other() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    let list = [from_producer(7, 0, 0, 2), from_producer(7, 0, 2, 1)];
    log.append_as_leader(&list, LeaderEpoch(0), NOW).unwrap();
    let gap = [from_producer(7, 0, 3, 1), from_producer(7, 0, 5, 1)];
    assert!(matches!(
        log.append_as_leader(&gap, LeaderEpoch(0), NOW),
        Err(LogError::Sequence(_))
    ));
    assert_eq!(log.log_end(), Offset(3));
}

#[test]
fn retries_are_recognised_after_clean_and_unclean_stops_and_rolls() {
    let disk = Disk::new();
    for clean in [true, false, true] {
        let (mut log, _) = disk.open(&config());
        let start = log.log_end().0 as i32;
        for i in 0..20 {
            assert_eq!(
                result(&mut log, &from_producer(7, 0, start + i, 1)),
                Ok((i64::from(start + i), false))
            );
        }
        if clean {
            close(log);
        } else {
            drop(log);
        }
        let (mut log, _) = disk.open(&config());
        for back in 1..=5 {
            let sequence = start + 20 - back;
            assert_eq!(
                result(&mut log, &from_producer(7, 0, sequence, 1)),
                Ok((i64::from(sequence), true))
            );
        }
        assert!(result(&mut log, &from_producer(7, 0, start + 14, 1)).is_err());
        if clean {
            close(log);
        } else {
            drop(log);
        }
    }
}

#[test]
fn truncation_takes_the_state_back() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&config());
    for i in 0..30 {
        result(&mut log, &from_producer(7, 0, i, 1)).unwrap();
    }
    log.truncate_to(Offset(11)).unwrap();
    assert_eq!(
        result(&mut log, &from_producer(7, 0, 30, 1)),
        Err("expected 11".to_owned())
    );
    for i in 6..11 {
        assert_eq!(result(&mut log, &from_producer(7, 0, i, 1)), Ok((i64::from(i), true)));
    }
    assert_eq!(result(&mut log, &from_producer(7, 0, 11, 1)), Ok((11, false)));
}

#[test]
fn producers_expire_by_the_time_of_their_records() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(&with(|c| c.producer_id_expiration = secs(60)));
    result(&mut log, &from_producer(7, 0, 0, 1)).unwrap();
    log.expire_producers(TimestampMs(NOW.0 + 59_999));
    assert_eq!(log.producer_count(), 1);
    log.expire_producers(TimestampMs(NOW.0 + 60_000));
    assert_eq!(log.producer_count(), 0);
    assert_eq!(
        result(&mut log, &from_producer(7, 0, 9, 1)),
        Ok((1, false)),
        "any sequence may come first again"
    );
}
