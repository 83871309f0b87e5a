//! Taking a shard over, and reading its log.

use super::*;

#[test]
fn rule_75_until_it_serves_a_shard_says_so_and_keeps_members_alive() {
    let mut h = Harness::new();
    let token = h.send(commit(1));
    assert_eq!(h.reply(token), Some(Err(ErrorCode::NotCoordinator)));
    h.shard.assign(Some(ASSIGNED), h.now);
    let (write, alive) = (h.send(commit(1)), h.send(heartbeat()));
    assert_eq!(h.reply(write), Some(Err(ErrorCode::CoordinatorLoadInProgress)));
    assert_eq!(h.reply(alive), Some(Ok(Reply::Heartbeat(ErrorCode::None))));
}

#[test]
fn c7_the_take_over_waits_for_the_high_watermark_and_starts_again_with_a_new_leader() {
    let mut h = Harness::new();
    h.shard.assign(Some(ASSIGNED), h.now);
    let attempt = h.open_attempt();
    h.shard.opened(attempt, Ok(opened(3)), h.now);
    h.shard.high_watermark(attempt, Ok(Offset(2)), h.now);
    h.drain();
    assert!(
        !h.actions.iter().any(|action| matches!(action, Action::Read { .. })),
        "3 is not reached"
    );
    let moved = Assignment {
        leader: Some(LeaderEpoch(6)),
        ..ASSIGNED
    };
    h.shard.assign(Some(moved), h.now);
    let again = h.open_attempt();
    assert!(again > attempt);
    h.shard.high_watermark(attempt, Ok(Offset(3)), h.now);
    h.drain();
    assert!(!h.actions.iter().any(|action| matches!(action, Action::Read { .. })));
}

#[test]
fn a_log_with_holes_is_read_to_its_end() {
    let (key, value) = record(7);
    let mut h = Harness::new();
    h.shard.assign(Some(ASSIGNED), h.now);
    let attempt = h.open_attempt();
    h.shard.opened(attempt, Ok(opened(10)), h.now);
    h.shard.high_watermark(attempt, Ok(Offset(10)), h.now);
    // Compaction left one batch of the first eight offsets, and nothing after it.
    for (batches, next) in [(batch(4, |it| it, &key, Some(&value)), 8), (Bytes::new(), 10)] {
        assert_eq!(h.shard.state(), ShardState::Loading);
        let chunk = Chunk {
            batches,
            next_offset: Offset(next),
        };
        h.shard.read(attempt, Ok(chunk), h.now);
    }
    assert_eq!(h.shard.state(), ShardState::Serving);
    let read = h.send(fetch());
    let [confirm] = h.confirms()[..] else { panic!() };
    h.confirmed(confirm);
    assert_eq!(fetched(h.reply(read)), 7);
    h.send(commit(8));
    assert!(matches!(h.appends()[..], [(_, 10, 1)]), "after the hole");
}

#[test]
fn an_image_that_has_not_heard_of_the_opened_leader_changes_nothing() {
    let mut h = Harness::new();
    let behind = Assignment {
        leader: Some(LeaderEpoch(4)),
        ..ASSIGNED
    };
    h.serve(behind, Bytes::new(), 0);
    h.shard.assign(Some(ASSIGNED), h.now);
    assert_eq!(h.shard.state(), ShardState::Serving);
    h.shard.assign(None, h.now);
    assert_eq!(h.shard.state(), ShardState::Idle);
}

#[test]
fn rule_88_markers_decide_what_transactional_batches_count() {
    let (producer, epoch) = (ProducerId(9), ProducerEpoch(0));
    let marker = |result| EndTxnMarker {
        result,
        coordinator_epoch: CoordinatorEpoch(1),
    };
    for (result, expected) in [(TxnResult::Commit, 8), (TxnResult::Abort, 7)] {
        let (key, plain) = record(7);
        let (_, transactional) = record(8);
        let mut end = BatchBuilder::end_txn(marker(result), producer, epoch, TimestampMs(1));
        end.header.base_offset = Offset(2);
        let log = [
            batch(0, |builder| builder, &key, Some(&plain)),
            batch(
                1,
                |builder| builder.producer(producer, epoch, 0).transactional(),
                &key,
                Some(&transactional),
            ),
            end.to_bytes(),
        ];
        let mut h = Harness::new();
        h.serve(ASSIGNED, log.concat().into(), 3);
        let read = h.send(fetch());
        let [confirm] = h.confirms()[..] else { panic!() };
        h.confirmed(confirm);
        assert_eq!(fetched(h.reply(read)), expected);
    }
}

#[test]
fn rule_88_an_unreadable_record_fails_the_load() {
    let (key, _) = record(7);
    let mut h = Harness::new();
    h.shard.assign(Some(ASSIGNED), h.now);
    let attempt = h.open_attempt();
    h.shard.opened(attempt, Ok(opened(1)), h.now);
    h.shard.high_watermark(attempt, Ok(Offset(1)), h.now);
    let chunk = Chunk {
        batches: batch(0, |builder| builder, &key, Some(b"\x00\x63")),
        next_offset: Offset(1),
    };
    h.shard.read(attempt, Ok(chunk), h.now);
    h.drain();
    assert!(h.actions.iter().any(|action| matches!(action, Action::LoadFailed(_))));
    let token = h.send(commit(1));
    assert_eq!(h.reply(token), Some(Err(ErrorCode::NotCoordinator)));
    h.advance(30_000);
    assert!(h.open_attempt() > attempt, "somebody may have repaired it");
}
