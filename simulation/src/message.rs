//! What is said over connections.

use highwater_broker::replica::FetchPoint;
use highwater_controller::cluster::{AlterPartitions, RegistrationRefused};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, Revision, TopicPartition};

use crate::broker::Registration;
use crate::disk::Batch;

/// A message.
#[derive(Clone, Debug)]
pub enum Message {
    /// The connection is over.
    Closed,
    /// A follower's Fetch, of one partition.
    Fetch(FetchRequest),
    /// Its answer.
    Fetched(FetchAnswer),
    /// A broker to its controller.
    Said(Said),
    /// A controller to its broker.
    Told(Told),
    /// A leader's proposals.
    Alter(AlterPartitions),
    /// What became of them.
    Altered(Vec<Altered>),
}

/// A follower's Fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest {
    /// The partition.
    pub key: TopicPartition,
    /// Who asks.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// From where, and what it knows.
    pub point: FetchPoint,
}

/// The answer to a Fetch.
#[derive(Clone, Debug)]
pub struct FetchAnswer {
    /// The request.
    pub request: FetchRequest,
    /// What the leader says.
    pub result: Result<Fetched, ErrorCode>,
}

/// What a leader answers.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The follower's log has diverged: the leader's end of the largest epoch that both may share.
    Diverging {
        /// The epoch.
        epoch: LeaderEpoch,
        /// Its end in the leader's log.
        end: Offset,
    },
    /// Batches from the fetch offset on.
    Batches {
        /// The batches.
        batches: Vec<Batch>,
        /// The leader's high watermark.
        high_watermark: Offset,
    },
}

/// A broker to its controller, on its session's stream.
#[derive(Clone, Debug)]
pub enum Said {
    /// A process start wants to take part.
    Register(Registration),
    /// It has recovered.
    Unfence {
        /// Replicas that cannot be trusted.
        untrusted: Vec<TopicPartition>,
    },
    /// It wants to stop.
    Leave {
        /// It has waited long enough.
        now: bool,
    },
}

/// A controller to its broker.
#[derive(Clone, Debug)]
pub enum Told {
    /// The registration is committed.
    Registered {
        /// Its epoch.
        epoch: BrokerEpoch,
        /// The image that has it.
        revision: Revision,
    },
    /// It may not take part.
    Refused(RegistrationRefused),
    /// It is live.
    Unfenced,
    /// It may stop.
    MayLeave,
}

/// What became of one proposal.
#[derive(Clone, Debug)]
pub struct Altered {
    /// The partition.
    pub key: TopicPartition,
    /// The partition epoch that the proposal built on.
    pub base: PartitionEpoch,
    /// The state after it, or why not.
    pub result: Result<(PartitionEpoch, Vec<NodeId>), ErrorCode>,
}
