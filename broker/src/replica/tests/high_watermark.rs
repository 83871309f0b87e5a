//! The high watermark, and acknowledgements that wait for it.

use super::*;

#[test]
fn the_only_replica_acknowledges_when_its_own_flush_is_done() {
    let mut replica = Replica::new(ME, config(1), empty_log(), Offset(0));
    let alone = Partition {
        replicas: vec![ME],
        ..partition(ME, 0, 1, &[ME])
    };
    let _ = replica.assign(&alone, all_live, at(0));
    append(&mut replica, 3, 1);
    append(&mut replica, 5, 2);
    assert_eq!(
        replica.high_watermark(),
        Offset(0),
        "the page cache is not a disk (known trace R7)"
    );
    let effects = replica.flushed(Offset(4));
    assert_eq!(results(&effects), [(1, Ok(()))]);
    assert_eq!(replica.high_watermark(), Offset(4));
    assert_eq!(results(&replica.flushed(Offset(5))), [(2, Ok(()))]);
}

#[test]
fn with_write_caching_the_flushed_end_is_the_log_end() {
    let mut replica = Replica::<u32>::new(ME, config(2), empty_log(), Offset(0));
    let alone = Partition {
        replicas: vec![ME],
        ..partition(ME, 0, 1, &[ME])
    };
    let _ = replica.assign(&alone, all_live, at(0));
    assert!(
        replica.check_append(true).is_ok(),
        "min ISR is capped at the replication factor"
    );
    assert!(replica.appended(Offset(7), Offset(7)).high_watermark_moved);
    assert_eq!(replica.wait(Offset(7), 1), Err(Completed { ack: 1, result: Ok(()) }));
}

#[test]
fn without_write_caching_any_more_the_real_flushed_end_counts_and_nothing_goes_back() {
    let mut replica = leader(1, &[ME]);
    let _ = replica.appended(Offset(7), Offset(7));
    assert!(!replica.flushed_end_is(Offset(3)).high_watermark_moved);
    assert_eq!(
        (replica.high_watermark(), replica.log().flushed),
        (Offset(7), Offset(3))
    );
    let _ = replica.appended(Offset(9), Offset(3));
    assert_eq!(replica.high_watermark(), Offset(7));
    assert!(replica.flushed(Offset(9)).high_watermark_moved);
}

#[test]
fn the_high_watermark_is_the_least_flushed_end_of_the_isr() {
    let mut replica = leader(2, &[ME, B1]);
    append(&mut replica, 10, 1);
    let _ = replica.flushed(Offset(10));
    assert_eq!(replica.high_watermark(), Offset(0));
    let effects = replica.follower_fetched(fetch(B1, 6, at(1))).unwrap();
    assert!(effects.high_watermark_moved && effects.completed.is_empty());
    assert_eq!(replica.high_watermark(), Offset(6));
    let effects = replica.follower_fetched(fetch(B1, 10, at(1))).unwrap();
    assert_eq!(results(&effects), [(1, Ok(()))]);
}

#[test]
fn a_duplicate_waits_for_the_offset_of_its_original() {
    let mut replica = leader(1, &[ME]);
    append(&mut replica, 4, 1);
    append(&mut replica, 8, 2);
    replica.wait(Offset(4), 3).unwrap();
    assert_eq!(results(&replica.flushed(Offset(5))), [(1, Ok(())), (3, Ok(()))]);
}

#[test]
fn a_small_isr_refuses_acks_all_and_freezes_the_high_watermark() {
    let mut replica = leader(2, &[ME]);
    assert_eq!(replica.check_append(true), Err(AckError::NotEnoughReplicas));
    assert_eq!(replica.check_append(false), Ok(()));
    let _ = replica.appended(Offset(5), Offset(5));
    assert_eq!(replica.high_watermark(), Offset(0));
    let _ = replica.assign(&partition(ME, 1, 2, &[ME, B1]), all_live, at(1));
    let _ = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap();
    assert_eq!(replica.high_watermark(), Offset(5));
}

#[test]
fn after_a_restart_the_high_watermark_is_the_checkpoint_within_the_log() {
    let log = LogEnds {
        start: Offset(4),
        end: Offset(9),
        flushed: Offset(0),
    };
    assert_eq!(
        Replica::<u32>::new(ME, config(1), log, Offset(7)).high_watermark(),
        Offset(7)
    );
    assert_eq!(
        Replica::<u32>::new(ME, config(1), log, Offset(2)).high_watermark(),
        Offset(4)
    );
    assert_eq!(
        Replica::<u32>::new(ME, config(1), log, Offset(99)).high_watermark(),
        Offset(9)
    );
}

#[test]
fn a_followers_high_watermark_follows_its_leaders_as_far_as_its_log_goes_and_never_back() {
    let mut replica = Replica::<u32>::new(ME, config(1), empty_log(), Offset(0));
    let _ = replica.assign(&partition(B1, 1, 1, &[ME, B1]), all_live, at(0));
    let _ = replica.appended(Offset(5), Offset(0));
    assert!(replica.leader_high_watermark(Offset(9)).high_watermark_moved);
    assert_eq!(replica.high_watermark(), Offset(5));
    assert!(
        !replica.leader_high_watermark(Offset(2)).high_watermark_moved,
        "a new leader may know less"
    );
    assert_eq!(replica.high_watermark(), Offset(5));
    replica.truncated(LogEnds {
        start: Offset(0),
        end: Offset(3),
        flushed: Offset(3),
    });
    assert_eq!(replica.high_watermark(), Offset(3));
}
