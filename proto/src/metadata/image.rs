//! The image itself. Cheap to clone and share: persistent maps of `Arc`s, readers never lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use crate::metadata::MetadataUpdate;
use crate::types::{
    BrokerEpoch, CoordinatorEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, ProducerId, Revision, ShardId,
    TopicId,
};

/// The cluster's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Kafka's cluster id (22 characters of base64url).
    pub cluster_id: String,
    /// Raised by `controller restore`; images never go back in (generation, revision).
    pub generation: i64,
    /// Version of the store's layout.
    pub format_version: i32,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeRole {
    /// Stores partitions and speaks Kafka.
    Broker,
    /// Runs groups and transactions.
    Coordinator,
}

/// An address that a node listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Listener name (`PLAINTEXT`, ...), or `GRPC` for traffic between our processes.
    pub name: String,
    /// Host as advertised; for in-process nodes a name of the in-memory transport.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Written once per incarnation; its revision is the node's epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// Broker or coordinator.
    pub role: NodeRole,
    /// A process start.
    pub incarnation: uuid::Uuid,
    /// The data directory's random id (zero for coordinators, which have none).
    pub directory_id: uuid::Uuid,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// Failure domain (`broker.rack`).
    pub rack: Option<String>,
    /// Kafka API ranges it serves: (api key, lowest, highest version).
    pub api_ranges: Vec<(i16, i16, i16)>,
    /// The Kubernetes pod that it runs in (`pod.uid`).
    pub pod_uid: Option<String>,
}

/// Where a node stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// Serves.
    Active,
    /// Serves, gets nothing new.
    Cordoned,
    /// Serves, is being emptied.
    Draining,
    /// Being fenced: what it led moves away.
    Fencing,
    /// Leads nothing, is in no ISR but as last member. Every registration starts here.
    #[default]
    Fenced,
}

/// What an administrator wants a node for; it outlives the node's restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeDuty {
    /// Everything.
    #[default]
    Full,
    /// What it has, and nothing new.
    Cordoned,
    /// Nothing: it is being emptied.
    Draining,
}

/// How much room a broker's disk has left (design section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskPressure {
    /// Enough.
    #[default]
    None,
    /// Less than the soft limit: producers are slowed down.
    Low,
    /// Only the reserve: producers are refused.
    Full,
}

/// How a broker's disk fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeDisk {
    /// How much room it has left.
    pub pressure: DiskPressure,
    /// How far it is from the soft limit to the reserve, in tenths: how much producers are slowed down.
    pub tenths: u8,
    /// Flushes take so long that it should lead nothing, and be waited for by nobody (`disk.stall.ms`).
    pub stalled: bool,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `node.id`
    pub id: NodeId,
    /// Revision of the registration.
    pub epoch: BrokerEpoch,
    /// What it said of itself.
    pub registration: NodeRegistration,
    /// Its state. While the node is live this is what its duty says, whatever live state was put.
    pub state: NodeState,
    /// What it is wanted for.
    pub duty: NodeDuty,
    /// How its disk fares.
    pub disk: NodeDisk,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub id: TopicId,
    /// Set configs.
    pub configs: Arc<BTreeMap<String, String>>,
    /// Who declared it (the uid of a Kubernetes object); only the owner may change what it declares.
    pub owner: Option<String>,
    /// Its partitions, by index; every one of `0..len` exists.
    pub partitions: Vec<Arc<Partition>>,
}

/// A partition as the controller decided it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// All replicas, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Joining by a reassignment.
    pub adding: Vec<NodeId>,
    /// Leaving by a reassignment.
    pub removing: Vec<NodeId>,
    /// In-sync replicas.
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<NodeId>,
    /// The last known leader while there is none.
    pub last_known_leader: Option<NodeId>,
    /// Replicas on failed disks.
    pub offline_replicas: Vec<NodeId>,
    /// The leader; `None` = offline.
    pub leader: Option<NodeId>,
    /// +1 per election.
    pub leader_epoch: LeaderEpoch,
    /// Revision of this key; set by `apply`.
    pub epoch: PartitionEpoch,
}

/// Who runs a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardAssignment {
    /// The coordinator; `None` while none lives.
    pub owner: Option<NodeId>,
    /// +1 per assignment.
    pub epoch: CoordinatorEpoch,
}

/// What a dynamic config belongs to (topic configs live in the topic's own key).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    /// All brokers (`<default>`).
    ClusterDefault,
    /// One broker.
    Broker(NodeId),
    /// A consumer group.
    Group(String),
}

/// What is wanted of the balance of replicas over brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebalance {
    /// Replicas and leaders are to be evened out over the brokers: asked for, or a broker joined.
    pub wanted: bool,
    /// Only these brokers get more; empty = all.
    pub onto: Vec<NodeId>,
    /// Bytes per second of replicas that reassignments add, for each broker that copies and each that is copied from.
    pub throttle: Option<u64>,
    /// The same where a replica leaves a draining broker.
    pub drain_throttle: Option<u64>,
}

impl Rebalance {
    /// True if [`MetadataImage::copy_limit`] may be one.
    #[must_use]
    pub fn limits_copies(&self) -> bool {
        self.throttle.is_some() || self.drain_throttle.is_some()
    }
}

/// The cluster at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataImage {
    /// Revision of the last update applied.
    pub revision: Revision,
    /// Identity.
    pub cluster: ClusterInfo,
    /// Nodes by id (brokers and coordinators share the id space).
    pub nodes: OrdMap<NodeId, Arc<Node>>,
    pub(super) topics_by_id: OrdMap<TopicId, Arc<Topic>>,
    pub(super) topic_ids: OrdMap<Arc<str>, TopicId>,
    /// Partition keys that exist for nobody: without a topic key, or at or above its count (design section 3).
    pub(super) orphans: OrdMap<(TopicId, PartitionIndex), Arc<Partition>>,
    /// Declared counts of topics of which not every partition key is there. Empty in a healthy cluster.
    pub(super) incomplete: OrdMap<TopicId, i32>,
    /// Shards by id.
    pub shards: OrdMap<ShardId, ShardAssignment>,
    /// Dynamic configs.
    pub configs: OrdMap<ConfigResource, Arc<BTreeMap<String, String>>>,
    /// What is wanted of the balance of replicas over brokers.
    pub rebalance: Rebalance,
    /// First producer id that was not handed out.
    pub next_producer_id: ProducerId,
}

impl MetadataImage {
    /// What images are ordered by: a restored store goes on in a higher generation, whatever its revision.
    #[must_use]
    pub fn position(&self) -> (i64, Revision) {
        (self.cluster.generation, self.revision)
    }

    /// Bytes per second at which `follower` may copy a partition that a reassignment adds it to; `None` = no limit.
    #[must_use]
    pub fn copy_limit(&self, partition: &Partition, follower: NodeId) -> Option<u64> {
        if !self.rebalance.limits_copies() || !partition.adding.contains(&follower) {
            return None;
        }
        let is_draining = |id: &NodeId| self.node(*id).is_some_and(|node| node.duty == NodeDuty::Draining);
        if partition.removing.iter().any(is_draining) {
            self.rebalance.drain_throttle
        } else {
            self.rebalance.throttle
        }
    }

    /// The topic with this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topic_ids.get(name).and_then(|id| self.topics_by_id.get(id))
    }

    /// The topic with this identity.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics_by_id.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.values().filter_map(|id| self.topics_by_id.get(id))
    }

    /// Number of topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topic_ids.len()
    }

    /// One partition of a topic that exists.
    #[must_use]
    pub fn partition(&self, topic: TopicId, partition: PartitionIndex) -> Option<&Arc<Partition>> {
        let index = usize::try_from(partition.get()).ok()?;
        self.topics_by_id.get(&topic)?.partitions.get(index)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes
            .values()
            .filter(|node| node.registration.role == NodeRole::Broker)
    }

    /// Brokers that are not fenced: those that clients are told of.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.brokers().filter(|node| node.is_live())
    }

    /// Coordinators that are not fenced.
    pub fn live_coordinators(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes
            .values()
            .filter(|node| node.registration.role == NodeRole::Coordinator && node.is_live())
    }

    /// The image one update later. An update at or below the image's revision changes nothing: images never go back.
    #[must_use]
    pub fn apply(&self, update: &MetadataUpdate) -> Self {
        let mut next = self.clone();
        if update.revision <= self.revision {
            return next;
        }
        next.revision = update.revision;
        for change in &update.changes {
            next.apply_change(update.revision, change);
        }
        next
    }

    /// Partition keys that exist for nobody: the topic key is not put yet, or is gone, or its count is lower.
    pub fn orphan_partitions(&self) -> impl Iterator<Item = (TopicId, PartitionIndex, &Arc<Partition>)> {
        self.orphans
            .iter()
            .map(|((topic, index), partition)| (*topic, *index, partition))
    }

    /// A partition whose key is kept, whether it exists for anybody or not.
    #[must_use]
    pub fn kept_partition(&self, topic: TopicId, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partition(topic, index)
            .or_else(|| self.orphans.get(&(topic, index)))
    }

    /// The partition count of a topic's key. It is higher than the number of partitions of the topic only while
    /// partition keys are missing.
    #[must_use]
    pub fn declared_partition_count(&self, topic: TopicId) -> Option<i32> {
        let visible = self.topics_by_id.get(&topic)?.partitions.len();
        Some(
            self.incomplete
                .get(&topic)
                .copied()
                .unwrap_or(i32::try_from(visible).unwrap_or(i32::MAX)),
        )
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// The broker with this id, if it is not fenced.
    #[must_use]
    pub fn live_broker(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes
            .get(&id)
            .filter(|node| node.registration.role == NodeRole::Broker && node.is_live())
    }

    /// The dynamic configs of a resource, if any are set.
    #[must_use]
    pub fn config(&self, resource: &ConfigResource) -> Option<&Arc<BTreeMap<String, String>>> {
        self.configs.get(resource)
    }

    /// Number of partitions that exist.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.topics_by_id.values().map(|topic| topic.partitions.len()).sum()
    }
}

impl Topic {
    /// One partition.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index.get()).ok()?)
    }

    /// The partitions with their indexes.
    pub fn indexed_partitions(&self) -> impl Iterator<Item = (PartitionIndex, &Arc<Partition>)> {
        (0..).map(PartitionIndex).zip(&self.partitions)
    }
}

impl Node {
    /// True while the node may lead and be led to.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, NodeState::Fenced | NodeState::Fencing)
    }

    /// The state of a live node with this duty.
    pub(super) fn live_state(duty: NodeDuty) -> NodeState {
        match duty {
            NodeDuty::Full => NodeState::Active,
            NodeDuty::Cordoned => NodeState::Cordoned,
            NodeDuty::Draining => NodeState::Draining,
        }
    }

    /// The endpoint of a listener.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.registration
            .endpoints
            .iter()
            .find(|endpoint| endpoint.name == listener)
    }
}
