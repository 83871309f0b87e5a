//! When replies leave, and what appends come to.

use super::*;

#[test]
fn a_commit_is_answered_when_its_append_is_below_the_high_watermark() {
    let mut h = Harness::serving();
    let token = h.send(commit(7));
    let [(attempt, 0, 1)] = h.appends()[..] else { panic!() };
    assert!(h.reply(token).is_none());
    h.appended(attempt, Ok(1));
    assert!(matches!(h.reply(token), Some(Ok(Reply::OffsetCommit(_)))));
}

#[test]
fn what_is_decided_during_an_append_goes_into_the_next_one() {
    let mut h = Harness::serving();
    h.send(commit(1));
    let (second, third) = (h.send(commit(2)), h.send(commit(3)));
    let [(attempt, 0, 1)] = h.appends()[..] else {
        panic!("one append is in flight")
    };
    h.appended(attempt, Ok(1));
    let [(attempt, 1, 2)] = h.appends()[..] else {
        panic!("the others share the next")
    };
    h.appended(attempt, Ok(3));
    assert!(h.reply(second).is_some() && h.reply(third).is_some());
}

#[test]
fn c2_a_read_waits_for_the_records_it_has_seen() {
    let mut h = Harness::serving();
    h.send(commit(7));
    let [(append, ..)] = h.appends()[..] else { panic!() };
    let read = h.send(fetch());
    let [confirm] = h.confirms()[..] else { panic!() };
    h.confirmed(confirm);
    assert!(h.reply(read).is_none(), "the value it has seen may still disappear");
    h.appended(append, Ok(1));
    assert_eq!(fetched(h.reply(read)), 7);
}

#[test]
fn c3_a_read_waits_for_a_check_that_was_started_after_it_came() {
    let mut h = Harness::serving();
    h.send(commit(7));
    let [(append, ..)] = h.appends()[..] else { panic!() };
    let read = h.send(fetch());
    let [confirm] = h.confirms()[..] else { panic!() };
    h.appended(append, Ok(1));
    assert!(
        h.reply(read).is_none(),
        "the append may have passed the leader before the read came in"
    );
    h.confirmed(confirm);
    assert_eq!(fetched(h.reply(read)), 7);

    let first = h.send(fetch());
    let [confirm] = h.confirms()[..] else { panic!() };
    let second = h.send(fetch());
    let third = h.send(fetch());
    assert!(h.confirms().is_empty(), "one at a time");
    h.confirmed(confirm);
    assert!(h.reply(first).is_some());
    assert!(h.reply(second).is_none(), "it came after that confirmation was started");
    let [confirm] = h.confirms()[..] else {
        panic!("one for both")
    };
    h.confirmed(confirm);
    assert!(h.reply(second).is_some() && h.reply(third).is_some());
}

#[test]
fn an_append_that_is_still_to_start_is_a_check_too() {
    let mut h = Harness::serving();
    h.send(commit(1));
    let [(append, ..)] = h.appends()[..] else { panic!() };
    h.send(commit(2));
    let read = h.send(fetch());
    let [confirm] = h.confirms()[..] else { panic!() };
    h.appended(append, Ok(1));
    let [(append, ..)] = h.appends()[..] else { panic!() };
    h.appended(append, Ok(2));
    assert_eq!(fetched(h.reply(read)), 2, "without waiting for the confirmation");
    h.confirmed(confirm);
}

#[test]
fn an_append_of_unknown_fate_starts_the_take_over_again() {
    for failure in [
        Failure::Unknown(ErrorCode::RequestTimedOut),
        Failure::Refused(ErrorCode::OutOfOrderSequenceNumber),
        Failure::Refused(ErrorCode::NotLeaderOrFollower),
    ] {
        let mut h = Harness::serving();
        let (token, parked) = (h.send(commit(1)), h.send(fetch()));
        let [(attempt, ..)] = h.appends()[..] else { panic!() };
        h.appended(attempt, Err(failure));
        let error = match failure {
            Failure::Unknown(_) => ErrorCode::CoordinatorNotAvailable,
            Failure::Refused(_) => ErrorCode::NotCoordinator,
        };
        assert_eq!(h.reply(token), Some(Err(error)));
        assert_eq!(h.reply(parked), Some(Err(error)));
        assert_eq!(h.shard.state(), ShardState::Loading);
        h.advance(1_000);
        assert!(h.open_attempt() > attempt);
        h.appended(attempt, Ok(1));
        assert_eq!(h.shard.state(), ShardState::Loading, "a late answer changes nothing");
    }
}

#[test]
fn an_append_refused_for_want_of_replicas_is_tried_again_for_the_commit_timeout() {
    let mut h = Harness::serving();
    let token = h.send(commit(1));
    for _ in 0..3 {
        let [(attempt, 0, 1)] = h.appends()[..] else {
            panic!("the same append")
        };
        h.appended(attempt, Err(Failure::Refused(ErrorCode::NotEnoughReplicas)));
        assert!(h.reply(token).is_none());
        h.advance(100);
    }
    let [(attempt, 0, 1)] = h.appends()[..] else { panic!() };
    h.now.monotonic += Duration::from_secs(5);
    h.appended(attempt, Err(Failure::Refused(ErrorCode::NotEnoughReplicas)));
    assert_eq!(h.reply(token), Some(Err(ErrorCode::CoordinatorNotAvailable)));
}

#[test]
fn a_deposed_owner_answers_nothing_from_memory() {
    let mut h = Harness::serving();
    let read = h.send(fetch());
    let [confirm] = h.confirms()[..] else { panic!() };
    h.shard
        .confirmed(confirm, Err(Failure::Refused(ErrorCode::NotCoordinator)), h.now);
    assert_eq!(h.reply(read), Some(Err(ErrorCode::NotCoordinator)));
    assert_eq!(h.shard.state(), ShardState::Loading);
}

#[test]
fn names_that_no_record_can_hold_are_refused() {
    let mut h = Harness::serving();
    let token = h.send(Request::DescribeGroups(vec!["x".repeat(40_000).into()]));
    assert_eq!(h.reply(token), Some(Err(ErrorCode::InvalidRequest)));
}
