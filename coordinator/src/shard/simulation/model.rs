//! What the schedules are played with: chance, the leader, the calls of the owners and what comes back from them.

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::Batches;
use highwater_proto::types::{Offset, TopicId};

use crate::group::*;
use crate::shard::*;

/// A rule of the leader that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    /// Appends are not checked against the end of the log.
    NoExpectedEnd,
    /// Appends are answered before they are below the high watermark.
    AckBeforeCommit,
    /// Confirmations are given to anybody.
    ConfirmAnybody,
    /// Appends of older owners are taken.
    NoFencing,
    /// The barrier of a take-over is lifted at once.
    NoBarrier,
    /// A leader that was replaced confirms what its old image says.
    ConfirmFromImage,
    /// A leader believes that it leads when one follower knows no later one.
    AskOneFollower,
}

/// A generator that needs no crate: xorshift64*.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The leader of the partition, as all of the replicas together.
#[derive(Clone, Default)]
pub(super) struct Leader {
    /// Which replica it is.
    pub(super) at: usize,
    pub(super) epoch: i32,
    /// The coordinator epoch that its image has.
    pub(super) applied: i32,
    /// Batches with their base offsets and ends.
    pub(super) log: Vec<(i64, i64, Bytes)>,
    pub(super) committed: i64,
    /// Who waits for the high watermark: (call, end).
    pub(super) waiting: Vec<(Call, i64)>,
}

impl Leader {
    pub(super) fn end(&self) -> i64 {
        self.log.last().map_or(0, |batch| batch.1)
    }

    pub(super) fn append(&mut self, batches: &Bytes) -> i64 {
        for batch in Batches::new(batches.clone()) {
            let mut batch = batch.unwrap();
            let base = self.end();
            batch.header.base_offset = Offset(base);
            let end = base + i64::from(batch.header.record_count);
            self.log.push((base, end, batch.to_bytes()));
        }
        self.end()
    }
}

/// A call of an owner.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) owner: usize,
    /// The leader epoch in the owner's image when it was made.
    pub(super) to: i32,
    pub(super) action: Action,
}

/// What comes back from one.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Opened(u64, Result<Opened, Failure>),
    HighWatermark(u64, Result<Offset, Failure>),
    Read(u64, Result<Chunk, Failure>),
    Appended(u64, Result<Offset, Failure>),
    Confirmed(u64, Result<(), Failure>),
}

pub(super) fn commit(offset: i64) -> Request {
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

pub(super) fn fetch() -> Request {
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
