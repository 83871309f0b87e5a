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
    /// How large are the replicas here? Answered with [`Reply::ReplicaSizes`].
    ReplicaSizes {
        /// Names the question.
        id: i64,
        /// Only those after this one, in their order.
        after: Option<TopicPartition>,
        /// So many at most.
        limit: usize,
    },
    /// This node is unregistered, and its data directory is to be marked so. Answered with [`Reply::Retired`].
    Retire {
        /// Names the question.
        id: i64,
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
    /// Replicas and their bytes, in order.
    ReplicaSizes {
        /// The question.
        id: i64,
        /// Replicas and their bytes.
        sizes: Vec<(TopicPartition, u64)>,
        /// There are more after the last one.
        more: bool,
    },
    /// The data directory is marked, on disk.
    Retired {
        /// The question.
        id: i64,
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

impl TryFrom<heard::AskReplicaSizes> for Question {
    type Error = ConvertError;

    fn try_from(ask: heard::AskReplicaSizes) -> Result<Self, ConvertError> {
        Ok(Self::ReplicaSizes {
            id: ask.question,
            after: ask.after.as_ref().map(partition).transpose()?,
            limit: usize::try_from(ask.limit).map_err(|_| ConvertError::OutOfRange("limit"))?,
        })
    }
}

impl From<heard::Retire> for Question {
    fn from(ask: heard::Retire) -> Self {
        Self::Retire { id: ask.question }
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
            Reply::ReplicaSizes { id, sizes, more } => Self::ReplicaSizes(said::ReplicaSizes {
                question: id,
                topics: by_topic(&sizes),
                more,
            }),
            Reply::Retired { id } => Self::Retired(said::Retired { question: id }),
        }
    }
}

/// A topic's id is said once for its partitions, which follow each other.
fn by_topic(sizes: &[(TopicPartition, u64)]) -> Vec<said::TopicSizes> {
    let topics = sizes.chunk_by(|(one, _), (next, _)| one.topic_id == next.topic_id);
    let topic = |sizes: &[(TopicPartition, u64)]| said::TopicSizes {
        topic_id: sizes
            .first()
            .map_or_else(Default::default, |(key, _)| convert::uuid_bytes(key.topic_id.0)),
        partitions: sizes.iter().map(|(key, _)| key.partition.get()).collect(),
        bytes: sizes
            .iter()
            .map(|(_, bytes)| i64::try_from(*bytes).unwrap_or(i64::MAX))
            .collect(),
    };
    topics.map(topic).collect()
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
