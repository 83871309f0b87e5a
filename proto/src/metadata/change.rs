//! Changes: what one decision of the controller does to the image, and what the store keeps.

use std::collections::BTreeMap;

use crate::metadata::{
    ClusterInfo, ConfigResource, NodeDisk, NodeDuty, NodeRegistration, NodeState, Partition, Rebalance, ShardAssignment,
};
use crate::types::{NodeId, PartitionIndex, ProducerId, Revision, ShardId, TopicId};

/// One key of the metadata store, put or deleted. The layout of the keys is that of design section 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `cluster`
    PutCluster(ClusterInfo),
    /// `nodes/<id>/registration`
    PutNodeRegistration(NodeId, NodeRegistration),
    /// `nodes/<id>/state`
    PutNodeState(NodeId, NodeState),
    /// `nodes/<id>/disk`
    PutNodeDisk(NodeId, NodeDisk),
    /// `nodes/<id>/duty`
    PutNodeDuty(NodeId, NodeDuty),
    /// All keys of a node.
    DeleteNode(NodeId),
    /// `topics/<name>`: put last on create, deleted first.
    PutTopic {
        /// Topic name.
        name: String,
        /// Identity, chosen by whoever asked for the topic.
        topic_id: TopicId,
        /// Partitions that exist: those at or above the count exist for nobody.
        partition_count: i32,
        /// Topic configs that were set (Kafka names and values as given).
        configs: BTreeMap<String, String>,
        /// Who declared the topic.
        owner: Option<String>,
    },
    /// `topics/<name>`
    DeleteTopic {
        /// Topic name.
        name: String,
        /// Identity of the topic that goes.
        topic_id: TopicId,
    },
    /// `partitions/<topic id>/<n>`. `partition.epoch` is ignored on input: it becomes the revision of the put.
    PutPartition(TopicId, PartitionIndex, Partition),
    /// `partitions/<topic id>/<n>`
    DeletePartition(TopicId, PartitionIndex),
    /// `shards/<kind>/<n>`
    PutShard(ShardId, ShardAssignment),
    /// `shards/<kind>/<n>`
    DeleteShard(ShardId),
    /// `configs/<type>/<name>`: dynamic broker and cluster configs.
    PutConfig(ConfigResource, BTreeMap<String, String>),
    /// `configs/<type>/<name>`
    DeleteConfig(ConfigResource),
    /// `rebalance`: what is wanted of the balance of replicas over brokers.
    PutRebalance(Rebalance),
    /// `producer-ids`: first id that was not handed out yet.
    PutProducerIds(ProducerId),
}

/// What one revision did, in the order of the commit. Empty for a revision without changes that nodes see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataUpdate {
    /// The revision that the image has after this update.
    pub revision: Revision,
    /// The changes.
    pub changes: Vec<Change>,
}
