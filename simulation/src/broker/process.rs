//! What a broker is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_broker::log::{Durability, FlushClaim, LeaderEpochs};
use highwater_broker::replica::{Replica, ShardOwner};
use highwater_proto::metadata::{MetadataImage, NodeRegistration, NodeRole};
use highwater_proto::types::{BrokerEpoch, NodeId, Offset, Revision, TopicPartition};
use uuid::Uuid;

use crate::disk::{Batch, Disk, Files};
use crate::network::ConnectionId;
use crate::plan::TopicPlan;

/// A machine: its disk, and the process if it runs.
#[derive(Debug)]
pub struct Broker {
    /// What survives.
    pub disk: Disk,
    /// What does not.
    pub process: Option<Process>,
    /// SIGSTOP.
    pub paused: bool,
}

/// What waits for the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// A producer.
    Producer {
        /// The partition.
        key: TopicPartition,
        /// What was appended.
        batch: Batch,
    },
    /// The owner of a shard.
    Shard {
        /// Which of its calls.
        number: u64,
        /// What the high watermark has to reach.
        end: Offset,
    },
}

/// How a process introduces itself.
#[derive(Clone, Debug)]
pub struct Registration {
    /// `node.id`
    pub node: NodeId,
    /// What goes into the image.
    pub registration: NodeRegistration,
}

impl Registration {
    /// Of a process of a broker.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Uuid, directory: Uuid) -> Self {
        Self {
            node,
            registration: NodeRegistration {
                role: NodeRole::Broker,
                incarnation,
                directory_id: directory,
                endpoints: Vec::new(),
                rack: None,
                api_ranges: Vec::new(),
                pod_uid: None,
            },
        }
    }
}

/// How far the session with the controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// There is no stream.
    None,
    /// The registration is on its way.
    Registering(ConnectionId),
    /// Registered; the image has to reach this revision before anything else.
    Registered(ConnectionId, Revision),
    /// The wish to be unfenced is on its way.
    Unfencing(ConnectionId),
    /// Live.
    Live(ConnectionId),
}

impl SessionState {
    /// The stream, if there is one.
    #[must_use]
    pub fn connection(self) -> Option<ConnectionId> {
        match self {
            Self::None => None,
            Self::Registering(id) | Self::Registered(id, _) | Self::Unfencing(id) | Self::Live(id) => Some(id),
        }
    }
}

/// A process of a broker.
#[derive(Debug)]
pub struct Process {
    /// This start.
    pub incarnation: Uuid,
    /// The newest registration.
    pub epoch: Option<BrokerEpoch>,
    /// The image that is carried out.
    pub image: Arc<MetadataImage>,
    /// The session with the controller.
    pub session: SessionState,
    /// SIGTERM came.
    pub leaving: bool,
    /// The replicas.
    pub replicas: BTreeMap<TopicPartition, LocalReplica>,
    /// One connection per leader.
    pub fetchers: BTreeMap<NodeId, ConnectionId>,
    /// Replicas that recovery does not trust.
    pub untrusted: Vec<TopicPartition>,
}

/// A flush under way.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// What it will confirm.
    pub claim: FlushClaim,
    /// Its bytes are on disk.
    pub synced: bool,
}

/// A replica in a process.
#[derive(Debug)]
pub struct LocalReplica {
    /// Production's.
    pub replica: Replica<Ack>,
    /// Production's: up to where the process knows its log to be on disk.
    pub durability: Durability,
    /// Production's: the epochs of the log.
    pub epochs: LeaderEpochs,
    /// The flush under way.
    pub flight: Option<Flight>,
    /// A fetch is on its way over this connection.
    pub asked: Option<ConnectionId>,
    /// Production's: the coordinator that may append here.
    pub shard_owner: ShardOwner,
    /// What the topic promises.
    pub plan: TopicPlan,
    /// The highest high watermark so far.
    pub highest_seen: Offset,
}

impl LocalReplica {
    /// What counts as flushed.
    #[must_use]
    pub fn flushed(&self, files: &Files) -> Offset {
        if self.plan.write_caching {
            files.end()
        } else {
            self.durability.end()
        }
    }
}
