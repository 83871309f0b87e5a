//! The cluster as the clients of one listener see it: brokers by that listener's addresses, partitions with the
//! replicas that can be reached through it. Shared by Metadata, DescribeCluster and DescribeTopicPartitions.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Endpoint, MetadataImage, Node, Partition};
use highwater_proto::types::NodeId;

/// The id that stands for no node.
pub(super) const NO_NODE: i32 = -1;
/// Authorized operations that were not asked for.
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// Everything that can be allowed on a topic, as bits: read, write, create, delete, alter, describe, describe configs,
/// alter configs. Without an authorizer everybody is allowed everything.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Everything that can be allowed on the cluster: create, alter, describe, cluster action, describe configs, alter
/// configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// Everything that can be allowed on a group: read, delete, describe, describe configs, alter configs.
pub(super) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// An image through one listener.
#[derive(Clone, Copy)]
pub(super) struct ClusterView<'a> {
    image: &'a MetadataImage,
    listener: &'a str,
}

/// Where clients find a partition.
pub(super) struct PartitionView {
    /// Why there is no leader to talk to; none if there is one.
    pub(super) error: ErrorCode,
    /// The leader, or -1.
    pub(super) leader: i32,
    /// Replicas that are fenced, unknown, or not on this listener.
    pub(super) offline: Vec<i32>,
}

impl<'a> ClusterView<'a> {
    pub(super) fn new(image: &'a MetadataImage, listener: &'a str) -> Self {
        Self { image, listener }
    }

    /// Live brokers with the address to use.
    pub(super) fn live_brokers(&self) -> impl Iterator<Item = (&'a Node, &'a Endpoint)> {
        let listener = self.listener;
        self.image
            .live_brokers()
            .filter_map(move |node| Some((&**node, node.endpoint(listener)?)))
    }

    /// Registered brokers, fenced ones too, with the address to use.
    pub(super) fn brokers(&self) -> impl Iterator<Item = (&'a Node, &'a Endpoint)> {
        let listener = self.listener;
        self.image
            .brokers()
            .filter_map(move |node| Some((&**node, node.endpoint(listener)?)))
    }

    /// The broker that clients shall send admin requests to. Any will do; the one that was asked saves them a
    /// connection. -1 if none can be reached.
    pub(super) fn controller_id(&self, asked: NodeId) -> i32 {
        if self.is_reachable(asked) {
            return asked.get();
        }
        self.live_brokers().next().map_or(NO_NODE, |(node, _)| node.id.get())
    }

    /// True for live brokers with this listener.
    pub(super) fn is_reachable(&self, id: NodeId) -> bool {
        self.image
            .live_broker(id)
            .is_some_and(|node| node.endpoint(self.listener).is_some())
    }

    /// A partition in the terms of the newest versions: a leader without this listener is told from no leader.
    pub(super) fn partition(&self, partition: &Partition) -> PartitionView {
        let live = partition.leader.filter(|id| self.image.live_broker(*id).is_some());
        let reachable = live.filter(|id| self.is_reachable(*id));
        let error = match (live, reachable) {
            (_, Some(_)) => ErrorCode::None,
            (Some(_), None) => ErrorCode::ListenerNotFound,
            (None, None) => ErrorCode::LeaderNotAvailable,
        };
        let offline = partition
            .replicas
            .iter()
            .filter(|id| !self.is_reachable(**id) || partition.offline_replicas.contains(id));
        PartitionView {
            error,
            leader: reachable.map_or(NO_NODE, NodeId::get),
            offline: offline.map(|id| id.get()).collect(),
        }
    }
}

/// Bare ids, for the wire.
pub(super) fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|id| id.get()).collect()
}
