//! The rules of section 6 of the design on one shard whose leader is played by the test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::record::{BatchBuilder, EndTxnMarker, TxnResult};
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId};

use super::*;
use crate::group::*;

struct Harness {
    shard: Shard,
    now: Now,
    tokens: u64,
    actions: Vec<Action>,
}

const ASSIGNED: Assignment = Assignment {
    coordinator_epoch: CoordinatorEpoch(1),
    leader: Some(LeaderEpoch(5)),
};

impl Harness {
    fn new() -> Self {
        Self {
            shard: Shard::new(Arc::new(ShardConfig::default())),
            now: Now {
                wall: TimestampMs(1_000_000),
                monotonic: Duration::ZERO,
            },
            tokens: 0,
            actions: Vec::new(),
        }
    }

    /// A shard that serves an empty log.
    fn serving() -> Self {
        let mut h = Self::new();
        h.serve(ASSIGNED, Bytes::new(), 0);
        h
    }

    fn serve(&mut self, assignment: Assignment, log: Bytes, end: i64) {
        self.shard.assign(Some(assignment), self.now);
        let attempt = self.open_attempt();
        self.shard.opened(attempt, Ok(opened(end)), self.now);
        self.shard.high_watermark(attempt, Ok(Offset(end)), self.now);
        if end > 0 {
            let chunk = Chunk {
                batches: log,
                next_offset: Offset(end),
            };
            self.shard.read(attempt, Ok(chunk), self.now);
        }
        self.drain();
        assert_eq!(self.shard.state(), ShardState::Serving);
        self.actions.clear();
    }

    fn drain(&mut self) {
        while let Some(action) = self.shard.next_action() {
            self.actions.push(action);
        }
    }

    fn open_attempt(&mut self) -> u64 {
        self.drain();
        let open = self.actions.iter().rev().find_map(|action| match action {
            Action::Open { attempt, .. } => Some(*attempt),
            _ => None,
        });
        open.expect("an open")
    }

    fn send(&mut self, request: Request) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.shard.handle(token, request, &MetadataImage::default(), self.now);
        self.drain();
        token
    }

    /// The appends asked for since the last look: (attempt, expected end, records).
    fn appends(&mut self) -> Vec<(u64, i64, i64)> {
        self.drain();
        let mut appends = Vec::new();
        self.actions.retain(|action| match action {
            Action::Append {
                attempt,
                expected_end,
                batches,
                ..
            } => {
                let count = highwater_proto::record::Batches::new(batches.clone())
                    .map(|batch| i64::from(batch.unwrap().header.record_count))
                    .sum();
                appends.push((*attempt, expected_end.get(), count));
                false
            }
            _ => true,
        });
        appends
    }

    fn confirms(&mut self) -> Vec<u64> {
        self.drain();
        let mut confirms = Vec::new();
        self.actions.retain(|action| match action {
            Action::Confirm { attempt, .. } => {
                confirms.push(*attempt);
                false
            }
            _ => true,
        });
        confirms
    }

    fn reply(&mut self, token: Token) -> Option<Outcome> {
        self.drain();
        let at = self
            .actions
            .iter()
            .position(|action| matches!(action, Action::Reply(it, _) if *it == token))?;
        match self.actions.remove(at) {
            Action::Reply(_, outcome) => Some(outcome),
            _ => None,
        }
    }

    fn appended(&mut self, attempt: u64, result: Result<i64, Failure>) {
        self.shard.appended(attempt, result.map(Offset), self.now);
    }

    fn confirmed(&mut self, attempt: u64) {
        self.shard.confirmed(attempt, Ok(()), self.now);
    }

    fn advance(&mut self, millis: u64) {
        self.now.monotonic += Duration::from_millis(millis);
        self.shard.tick(self.now);
    }
}

fn opened(end: i64) -> Opened {
    Opened {
        leader_epoch: LeaderEpoch(5),
        log_start: Offset(0),
        log_end: Offset(end),
    }
}

fn commit(offset: i64) -> Request {
    Request::OffsetCommit(OffsetCommit {
        group_id: "g".into(),
        generation: -1,
        member_id: "".into(),
        instance_id: None,
        retention: None,
        unknown_group_error: ErrorCode::GroupIdNotFound,
        topics: vec![CommitTopic {
            name: "t".into(),
            topic_id: TopicId::ZERO,
            partitions: vec![CommitPartition {
                partition: 0,
                offset,
                leader_epoch: -1,
                metadata: "".into(),
                refused: None,
            }],
        }],
    })
}

fn fetch() -> Request {
    Request::OffsetFetch(OffsetFetch {
        groups: vec![FetchGroup {
            group_id: "g".into(),
            topics: Some(vec![FetchTopic {
                name: "t".into(),
                partitions: vec![0],
            }]),
        }],
        require_stable: false,
    })
}

fn fetched(outcome: Option<Outcome>) -> i64 {
    match outcome {
        Some(Ok(Reply::OffsetFetch(groups))) => groups[0].topics[0].partitions[0].offset,
        other => panic!("{other:?}"),
    }
}

fn heartbeat() -> Request {
    Request::Heartbeat(Heartbeat {
        group_id: "g".into(),
        generation: 1,
        member_id: "m".into(),
        instance_id: None,
    })
}

/// Key and value of a commit as the shard writes it.
fn record(offset: i64) -> (Bytes, Bytes) {
    let mut groups = Groups::new(Arc::new(GroupConfig::default()));
    let mut effects = Effects::default();
    groups.handle(
        Token(1),
        commit(offset),
        &MetadataImage::default(),
        Now::default(),
        &mut effects,
    );
    let record = effects.records.remove(0).remove(0);
    (record.key, record.value.unwrap())
}

fn batch(base: i64, build: impl FnOnce(BatchBuilder) -> BatchBuilder, key: &[u8], value: Option<&[u8]>) -> Bytes {
    let mut builder = build(BatchBuilder::new().base_offset(Offset(base)));
    builder.append(TimestampMs(1), Some(key), value, &[]).unwrap();
    builder.build().unwrap().to_bytes()
}

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
fn a_release_finishes_what_is_in_flight_and_sends_the_parked_away() {
    let mut h = Harness::serving();
    let join = h.send(Request::JoinGroup(JoinGroup {
        group_id: "j".into(),
        member_id: "".into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(10),
        protocol_type: "consumer".into(),
        protocols: vec![MemberProtocol {
            name: "range".into(),
            metadata: Bytes::new(),
        }],
        member_uuid: uuid::Uuid::nil(),
        requires_known_member_id: false,
        supports_skip_assignment: true,
    }));
    let write = h.send(commit(1));
    h.shard.release(h.now);
    let late = h.send(commit(2));
    assert_eq!(h.reply(late), Some(Err(ErrorCode::NotCoordinator)));
    assert_eq!(h.reply(join), None);
    let [(attempt, 0, 1)] = h.appends()[..] else { panic!() };
    h.appended(attempt, Ok(1));
    let [(attempt, 1, 1)] = h.appends()[..] else { panic!() };
    h.appended(attempt, Ok(2));
    assert!(matches!(h.reply(write), Some(Ok(_))));
    assert_eq!(h.reply(join), Some(Err(ErrorCode::NotCoordinator)));
    assert!(h.actions.iter().any(|action| matches!(action, Action::Released)));
    assert_eq!(h.shard.state(), ShardState::Idle);

    // Asked again, by a controller that does not know.
    h.actions.clear();
    h.shard.release(h.now);
    h.drain();
    assert!(matches!(h.actions[..], [Action::Released]));
}

#[test]
fn a_released_shard_that_nobody_else_gets_is_taken_back() {
    let mut h = Harness::serving();
    h.shard.release(h.now);
    h.drain();
    assert!(h.actions.iter().any(|action| matches!(action, Action::Released)));
    h.advance(4_999);
    let late = h.send(commit(1));
    assert_eq!(h.reply(late), Some(Err(ErrorCode::NotCoordinator)));
    h.actions.clear();
    h.advance(1);
    h.drain();
    assert!(matches!(h.actions[..], [Action::Open { .. }]), "from the beginning");
    assert_eq!(h.shard.state(), ShardState::Loading);

    // The next assignment ends a release too, and the end of it.
    h.shard.release(h.now);
    let again = Assignment {
        coordinator_epoch: CoordinatorEpoch(2),
        ..ASSIGNED
    };
    h.serve(again, Bytes::new(), 0);
    h.advance(6_000);
    assert_eq!(h.shard.state(), ShardState::Serving);
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

#[test]
fn names_that_no_record_can_hold_are_refused() {
    let mut h = Harness::serving();
    let token = h.send(Request::DescribeGroups(vec!["x".repeat(40_000).into()]));
    assert_eq!(h.reply(token), Some(Err(ErrorCode::InvalidRequest)));
}
