//! What a leadership begins and ends with.

use super::*;

#[test]
fn losing_leadership_answers_everything_that_waits() {
    let mut replica = leader(1, &[ME, B1]);
    append(&mut replica, 5, 1);
    let effects = replica.assign(&partition(B1, 2, 2, &[B1]), all_live, at(1));
    assert_eq!(results(&effects), [(1, Err(AckError::NotLeader))]);
    assert_eq!(replica.check_leadership(None), Err(LeadershipError::NotLeader));
    assert_eq!(
        replica.check_leadership(Some(LeaderEpoch(1))),
        Err(LeadershipError::Fenced)
    );
    assert_eq!(
        replica.check_leadership(Some(LeaderEpoch(3))),
        Err(LeadershipError::Unknown)
    );
    assert_eq!(replica.wait(Offset(0), 2).unwrap_err().result, Err(AckError::NotLeader));
    let back = replica.assign(&partition(ME, 1, 1, &[ME]), all_live, at(1));
    assert!(
        back.completed.is_empty() && !replica.is_leader(),
        "an older image changes nothing"
    );
}

#[test]
fn a_higher_epoch_resets_followers_even_under_the_same_leader() {
    let mut replica = leader(1, &[ME, B1]);
    append(&mut replica, 5, 1);
    let _ = replica.flushed(Offset(5));
    let effects = replica.assign(&partition(ME, 2, 2, &[ME, B1]), all_live, at(1));
    assert_eq!(results(&effects), [(1, Err(AckError::NotLeader))]);
    assert_eq!(
        replica.high_watermark(),
        Offset(0),
        "B1 has not said in this epoch what it holds"
    );
}

#[test]
fn a_deleted_topic_answers_everything_that_waits() {
    let mut replica = leader(1, &[ME]);
    append(&mut replica, 5, 1);
    assert_eq!(results(&replica.stop(AckError::Deleted)), [(1, Err(AckError::Deleted))]);
    assert!(!replica.is_leader());
}

#[test]
fn readers_go_to_the_in_sync_follower_that_has_most() {
    let mut replica = leader(1, &[ME, B1, B2]);
    let _ = replica.appended(Offset(9), Offset(9));
    let _ = replica.follower_fetched(fetch(B1, 4, at(1))).unwrap();
    let late = FollowerFetch {
        log_start: Offset(3),
        ..fetch(B2, 6, at(1))
    };
    let _ = replica.follower_fetched(late).unwrap();
    let preferred = |offset| replica.preferred_read_replica(Offset(offset), |_| true);
    assert_eq!(preferred(4), Some(B2));
    assert_eq!(preferred(2), Some(B1), "the other one has deleted it");
    assert_eq!(preferred(7), None, "nobody has it yet");
    assert_eq!(replica.preferred_read_replica(Offset(4), |node| node == B1), Some(B1));
    assert_eq!(replica.low_watermark(), Some(Offset(0)));
}
