//! What a shard asks of the world, and what it is told.

use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset};

use crate::group::{Reply, Token};

/// A reply, or why there is none.
pub type Outcome = Result<Reply, ErrorCode>;

/// What the shell has to do. `attempt` comes back with the answer: answers to an attempt that was given up are ignored.
#[derive(Clone, Debug)]
pub enum Action {
    /// OpenShard at the leader of the partition.
    Open {
        /// Take-over that this belongs to.
        attempt: u64,
        /// Epoch of the assignment.
        coordinator_epoch: CoordinatorEpoch,
    },
    /// Wait until the high watermark is at the offset.
    AwaitHighWatermark {
        /// Take-over that this belongs to.
        attempt: u64,
        /// Epoch that was opened.
        leader_epoch: LeaderEpoch,
        /// The log end when the shard was opened.
        offset: Offset,
    },
    /// Read from the offset on, above the high watermark too.
    Read {
        /// Take-over that this belongs to.
        attempt: u64,
        /// Epoch that was opened.
        leader_epoch: LeaderEpoch,
        /// Where to read.
        offset: Offset,
    },
    /// Append, if the log still ends where it is expected to, and wait until the high watermark has passed it.
    Append {
        /// Take-over that this belongs to.
        attempt: u64,
        /// Epoch of the assignment.
        coordinator_epoch: CoordinatorEpoch,
        /// Epoch that was opened.
        leader_epoch: LeaderEpoch,
        /// The log end before the append.
        expected_end: Offset,
        /// Record batches.
        batches: Bytes,
    },
    /// Ask the leader whether this owner still is the one.
    Confirm {
        /// Take-over that this belongs to.
        attempt: u64,
        /// Epoch of the assignment.
        coordinator_epoch: CoordinatorEpoch,
        /// Epoch that was opened.
        leader_epoch: LeaderEpoch,
    },
    /// Answer a request.
    Reply(Token, Outcome),
    /// A hand-over is complete: nothing is in flight and nobody waits.
    Released,
    /// The shard can be served; it took this long.
    Loaded(Duration),
    /// The log cannot be read: somebody has to look at it.
    LoadFailed(String),
}

/// An assignment of the shard to this coordinator, as the image has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Epoch of the assignment.
    pub coordinator_epoch: CoordinatorEpoch,
    /// Leader epoch of the partition; `None` while it has no leader.
    pub leader: Option<LeaderEpoch>,
}

/// Answer to [`Action::Open`].
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Epoch that the leader leads in.
    pub leader_epoch: LeaderEpoch,
    /// First offset of the log.
    pub log_start: Offset,
    /// Where the log ends. Nothing below it may be missed.
    pub log_end: Offset,
}

/// Answer to [`Action::Read`].
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Whole record batches.
    pub batches: Bytes,
    /// Where to read next.
    pub next_offset: Offset,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The leader refused, and did nothing.
    Refused(ErrorCode),
    /// Nobody knows whether it was done, or will be.
    Unknown(ErrorCode),
}

impl Failure {
    /// What a client is told (rule 80).
    pub(super) fn for_client(self) -> ErrorCode {
        let (Self::Refused(error) | Self::Unknown(error)) = self;
        match error {
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
                ErrorCode::UnknownServerError
            }
            ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
            _ => ErrorCode::NotCoordinator,
        }
    }
}
