//! The cluster and its topics in figures, for those who operate them.

use std::collections::BTreeMap;

use highwater_proto::metadata::{MetadataImage, Partition, Topic};
use highwater_proto::types::NodeId;

use crate::cluster::Settings;

/// What is on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Replicas, those on their way included.
    pub replicas: usize,
    /// Partitions that it leads.
    pub leaders: usize,
    /// Replicas that are on their way to it or from it.
    pub moving: usize,
    /// Coordinator shards.
    pub shards: usize,
}

impl NodeLoad {
    /// Nothing is left on the node, or on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is on each node; nodes without anything have no entry.
#[must_use]
pub fn node_loads(image: &MetadataImage) -> BTreeMap<NodeId, NodeLoad> {
    let mut loads: BTreeMap<NodeId, NodeLoad> = BTreeMap::new();
    for partition in image.topics().flat_map(|topic| &topic.partitions) {
        for node in &partition.replicas {
            let load = loads.entry(*node).or_default();
            load.replicas += 1;
            load.moving += usize::from(partition.adding.contains(node) || partition.removing.contains(node));
            load.leaders += usize::from(partition.leader == Some(*node));
        }
    }
    for owner in image.shards.values().filter_map(|shard| shard.owner) {
        loads.entry(owner).or_default().shards += 1;
    }
    loads
}

/// How partitions fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Partitions.
    pub partitions: usize,
    /// Without a leader.
    pub offline: usize,
    /// Fewer in-sync replicas than the replication factor.
    pub under_replicated: usize,
    /// Fewer in-sync replicas than min ISR.
    pub under_min_isr: usize,
    /// With replicas that join or leave.
    pub reassigning: usize,
    /// The highest replication factor, reassignments done.
    pub replication_factor: usize,
    /// The highest min ISR.
    pub min_isr: usize,
}

impl Health {
    /// Of one topic.
    #[must_use]
    pub fn of_topic(image: &MetadataImage, settings: &Settings, topic: &Topic) -> Self {
        let mut health = Self::default();
        for partition in &topic.partitions {
            health.add(partition, settings.min_isr(image, topic, partition));
        }
        health
    }

    /// Of all topics.
    #[must_use]
    pub fn of_cluster(image: &MetadataImage, settings: &Settings) -> Self {
        let mut health = Self::default();
        for topic in image.topics() {
            for partition in &topic.partitions {
                health.add(partition, settings.min_isr(image, topic, partition));
            }
        }
        health
    }

    fn add(&mut self, partition: &Partition, min_isr: usize) {
        self.partitions += 1;
        self.offline += usize::from(partition.leader.is_none());
        self.under_replicated += usize::from(partition.isr.len() < partition.replication_factor());
        self.under_min_isr += usize::from(partition.isr.len() < min_isr);
        self.reassigning += usize::from(partition.is_reassigning());
        self.replication_factor = self.replication_factor.max(partition.target_replicas().count());
        self.min_isr = self.min_isr.max(min_isr);
    }
}
