//! Fetch sessions (KIP-227): the broker remembers which partitions a client fetches, so that requests and responses
//! carry only what changed. Time comes in as an argument.

mod cache;
mod follower;
mod session;

#[cfg(test)]
mod tests;

use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::TopicId;

pub use self::cache::{FetchContext, FetchSessions};
pub use self::follower::{FollowerRequest, FollowerSession, FollowerSessions, SessionState, Slot};

/// How a request names a topic: by name below version 13, by id from there on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By name.
    Name(ByteStr),
    /// By id.
    Id(TopicId),
}

impl TopicKey {
    /// The same key without a share of the frame it came in.
    fn detached(&self) -> Self {
        match self {
            Self::Name(name) => Self::Name(name.detached()),
            Self::Id(id) => Self::Id(*id),
        }
    }
}

/// One partition of a fetch, as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub index: i32,
    /// The leader epoch that the client knows; -1: none.
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Epoch of the last record that the client has; -1: not said.
    pub last_fetched_epoch: i32,
    /// First offset that a follower has; -1: no follower.
    pub log_start: i64,
    /// The high watermark that a follower knows, if it wants to be told of a higher one; 2^63-1: it does not.
    pub high_watermark: i64,
    /// Most bytes wanted of this partition.
    pub max_bytes: i32,
}

/// A partition that a client no longer fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenPartition {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub index: i32,
}

/// The part of a fetch request that sessions are about.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// Session named; 0: none.
    pub session_id: i32,
    /// -1: without a session (and end the one named), 0: full, else the next epoch of the session.
    pub session_epoch: i32,
    /// From a follower: its sessions are not given up for those of consumers.
    pub privileged: bool,
    /// Partitions listed.
    pub partitions: Vec<FetchPartition>,
    /// Partitions to forget.
    pub forgotten: Vec<ForgottenPartition>,
}

/// What of a partition's answer decides whether an incremental response lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentState {
    /// Error of the partition.
    pub error: ErrorCode,
    /// High watermark in the answer.
    pub high_watermark: i64,
    /// Log start offset in the answer.
    pub log_start: i64,
    /// It carries records.
    pub has_records: bool,
    /// It carries a diverging epoch or a preferred replica.
    pub must_send: bool,
}
