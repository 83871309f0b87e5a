//! The whole image as a list of puts, each with the revision of its key: what a watcher gets first, and what the
//! store loads.

use crate::metadata::{Change, MetadataImage, NodeDisk, NodeDuty, Rebalance};
use crate::types::Revision;

/// One key of the store as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Revision of the key's last put: a partition's or a node's epoch. Other keys may carry any revision up to the
    /// snapshot's.
    pub modified: Revision,
    /// The put.
    pub change: Change,
}

/// All keys at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataSnapshot {
    /// The revision of the store when the keys were read.
    pub revision: Revision,
    /// The keys, in any order.
    pub entries: Vec<SnapshotEntry>,
}

/// Images never go back, and never change their cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefused {
    /// The snapshot is older than the image.
    #[error(
        "snapshot of generation {generation} at revision {revision} is older than the image at generation {own_generation}, revision {own_revision}"
    )]
    Older {
        /// The snapshot's generation.
        generation: i64,
        /// The snapshot's revision.
        revision: Revision,
        /// The image's generation.
        own_generation: i64,
        /// The image's revision.
        own_revision: Revision,
    },
    /// The snapshot is of another cluster.
    #[error("snapshot of cluster {other} offered to a member of cluster {own}")]
    ForeignCluster {
        /// The snapshot's cluster id.
        other: String,
        /// The image's cluster id.
        own: String,
    },
}

impl MetadataImage {
    /// The image that a snapshot describes.
    #[must_use]
    pub fn from_snapshot(snapshot: &MetadataSnapshot) -> Self {
        let mut image = Self {
            revision: snapshot.revision,
            ..Self::default()
        };
        // What else is known of a node needs its registration, which other keys of the node precede in the store's order.
        let registers = |entry: &&SnapshotEntry| matches!(entry.change, Change::PutNodeRegistration(..));
        let first = snapshot.entries.iter().filter(registers);
        let others = snapshot.entries.iter().filter(|entry| !registers(entry));
        for entry in first.chain(others) {
            image.apply_change(entry.modified, &entry.change);
        }
        image
    }

    /// The snapshot in place of this image.
    ///
    /// # Errors
    /// If the snapshot is lower than this image in (generation, revision), or of another cluster.
    pub fn apply_snapshot(&self, snapshot: &MetadataSnapshot) -> Result<Self, SnapshotRefused> {
        let next = Self::from_snapshot(snapshot);
        if next.position() < self.position() {
            return Err(SnapshotRefused::Older {
                generation: next.cluster.generation,
                revision: next.revision,
                own_generation: self.cluster.generation,
                own_revision: self.revision,
            });
        }
        if !self.cluster.cluster_id.is_empty() && next.cluster.cluster_id != self.cluster.cluster_id {
            return Err(SnapshotRefused::ForeignCluster {
                other: next.cluster.cluster_id,
                own: self.cluster.cluster_id.clone(),
            });
        }
        Ok(next)
    }

    /// This image as puts that rebuild it, epochs included.
    #[must_use]
    pub fn snapshot(&self) -> MetadataSnapshot {
        let mut entries = Vec::with_capacity(self.partition_count() + 2 * self.nodes.len() + self.topic_count() + 2);
        let mut put = |modified: i64, change: Change| {
            entries.push(SnapshotEntry {
                modified: Revision(modified),
                change,
            });
        };
        let now = self.revision.get();
        put(now, Change::PutCluster(self.cluster.clone()));
        for node in self.nodes.values() {
            put(
                node.epoch.get(),
                Change::PutNodeRegistration(node.id, node.registration.clone()),
            );
            if node.disk != NodeDisk::default() {
                put(now, Change::PutNodeDisk(node.id, node.disk));
            }
            if node.duty != NodeDuty::Full {
                put(now, Change::PutNodeDuty(node.id, node.duty));
            }
            put(now, Change::PutNodeState(node.id, node.state));
        }
        for topic in self.topics_by_id.values() {
            let change = Change::PutTopic {
                name: topic.name.to_string(),
                topic_id: topic.id,
                partition_count: self.declared_partition_count(topic.id).unwrap_or_default(),
                configs: (*topic.configs).clone(),
                owner: topic.owner.clone(),
            };
            put(now, change);
            for (index, partition) in topic.indexed_partitions() {
                put(
                    partition.epoch.get(),
                    Change::PutPartition(topic.id, index, (**partition).clone()),
                );
            }
        }
        for (topic, index, partition) in self.orphan_partitions() {
            put(
                partition.epoch.get(),
                Change::PutPartition(topic, index, (**partition).clone()),
            );
        }
        for (id, assignment) in &self.shards {
            put(now, Change::PutShard(*id, *assignment));
        }
        for (resource, values) in &self.configs {
            put(now, Change::PutConfig(resource.clone(), (**values).clone()));
        }
        if self.rebalance != Rebalance::default() {
            put(now, Change::PutRebalance(self.rebalance.clone()));
        }
        put(now, Change::PutProducerIds(self.next_producer_id));
        MetadataSnapshot {
            revision: self.revision,
            entries,
        }
    }
}
