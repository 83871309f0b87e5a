//! What the controller asks of a node on its session, and the answers.

use highwater_proto::grpc::session_request::{self as said, ReplicaRef, Request as Said};
use highwater_proto::grpc::session_response as heard;
use highwater_proto::metadata::convert::{self, ConvertError};
use highwater_proto::types::{LeaderEpoch, NodeId, Offset, ShardId, TopicPartition};

/// Something that the controller asks; the answer names the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where do these logs end? Answered with [`Reply::LogEnds`].
    LogEnds {
        /// Names the question.
        id: i64,
        /// The replicas.
        replicas: Vec<TopicPartition>,
    },
    /// Take no more appends until these targets have everything. Answered with [`Reply::HandedOver`].
    HandOver {
        /// Names the question.
        id: i64,
        /// What is to be handed over.
        moves: Vec<LeaderMove>,
    },
    /// These leaderships stay where they are after all: take appends again. Not answered.
    Keep {
        /// The question that asked for the hand-over.
        id: i64,
        /// What is led on.
        kept: Vec<TopicPartition>,
    },
    /// Take no more requests for these shards and finish what is in flight. Answered with [`Reply::Released`].
    Release {
        /// Names the question.
        id: i64,
        /// The shards, which are about to get another owner.
        shards: Vec<ShardId>,
    },
}

/// A leadership that is going to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderMove {
    /// The partition.
    pub key: TopicPartition,
    /// The epoch in which this node leads it; in another one there is nothing to hand over.
    pub leader_epoch: LeaderEpoch,
    /// Who leads next.
    pub target: NodeId,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The partition.
    pub key: TopicPartition,
    /// Epoch of the last batch; -1 for an empty log.
    pub last_epoch: LeaderEpoch,
    /// Offset after the last record.
    pub end: Offset,
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The logs that are here and can be read.
    LogEnds {
        /// The question.
        id: i64,
        /// Where they end.
        ends: Vec<LogEnd>,
    },
    /// The partitions of which the target has everything.
    HandedOver {
        /// The question.
        id: i64,
        /// They may move without a loss.
        ready: Vec<TopicPartition>,
    },
    /// Nothing of these shards is in flight any more.
    Released {
        /// The question.
        id: i64,
        /// They may be assigned to others.
        shards: Vec<ShardId>,
    },
}

impl TryFrom<heard::AskLogEnds> for Question {
    type Error = ConvertError;

    fn try_from(ask: heard::AskLogEnds) -> Result<Self, ConvertError> {
        Ok(Self::LogEnds {
            id: ask.question,
            replicas: ask.replicas.iter().map(partition).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<heard::HandOver> for Question {
    type Error = ConvertError;

    fn try_from(ask: heard::HandOver) -> Result<Self, ConvertError> {
        let one = |wanted: heard::LeaderMove| {
            let replica = wanted.replica.ok_or(ConvertError::Missing("replica"))?;
            Ok(LeaderMove {
                key: partition(&replica)?,
                leader_epoch: LeaderEpoch(wanted.leader_epoch),
                target: NodeId(wanted.target),
            })
        };
        Ok(Self::HandOver {
            id: ask.question,
            moves: ask.moves.into_iter().map(one).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<heard::Keep> for Question {
    type Error = ConvertError;

    fn try_from(keep: heard::Keep) -> Result<Self, ConvertError> {
        Ok(Self::Keep {
            id: keep.question,
            kept: keep.replicas.iter().map(partition).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<heard::Release> for Question {
    type Error = ConvertError;

    fn try_from(ask: heard::Release) -> Result<Self, ConvertError> {
        Ok(Self::Release {
            id: ask.question,
            shards: ask
                .shards
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<Reply> for Said {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::LogEnds { id, ends } => {
                let end = |log: LogEnd| said::LogEnd {
                    replica: Some(replica(&log.key)),
                    last_epoch: log.last_epoch.get(),
                    end: log.end.get(),
                };
                Self::LogEnds(said::LogEnds {
                    question: id,
                    ends: ends.into_iter().map(end).collect(),
                })
            }
            Reply::HandedOver { id, ready } => Self::HandedOver(said::HandedOver {
                question: id,
                ready: ready.iter().map(replica).collect(),
            }),
            Reply::Released { id, shards } => Self::Released(said::Released {
                question: id,
                shards: shards.into_iter().map(Into::into).collect(),
            }),
        }
    }
}

/// As it stands on the wire.
pub(super) fn replica(key: &TopicPartition) -> ReplicaRef {
    ReplicaRef {
        topic_id: convert::uuid_bytes(key.topic_id.0),
        partition: key.partition.get(),
    }
}

fn partition(replica: &ReplicaRef) -> Result<TopicPartition, ConvertError> {
    Ok(TopicPartition {
        topic_id: convert::topic_id(&replica.topic_id)?,
        partition: convert::partition_index(replica.partition)?,
    })
}
