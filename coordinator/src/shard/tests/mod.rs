//! The rules of section 6 of the design on one shard whose leader is played by the test.

mod release;
mod replies;
mod take_over;

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
