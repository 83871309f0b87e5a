//! May a broker be restarted without stopping a partition?

use std::sync::Arc;

use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::cluster::Settings;

/// Partitions that a restart of one broker would stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartCheck {
    /// Fewer than min ISR would be in sync without the broker. Others catch up: wait.
    pub blocking: Vec<(Arc<str>, PartitionIndex)>,
    /// They have no more replicas than min ISR needs, so that they stop whenever the broker does.
    pub unavoidable: Vec<(Arc<str>, PartitionIndex)>,
}

impl RestartCheck {
    /// Looks at all replicas of a broker.
    #[must_use]
    pub fn new(image: &MetadataImage, settings: &Settings, broker: NodeId) -> Self {
        let mut check = Self::default();
        for topic in image.topics() {
            for (index, partition) in topic.indexed_partitions() {
                if !partition.replicas.contains(&broker) {
                    continue;
                }
                let min_isr = settings.min_isr(image, topic, partition);
                let others = partition.isr.iter().filter(|node| **node != broker).count();
                if others >= min_isr {
                    continue;
                }
                let list = if partition.replication_factor() <= min_isr {
                    &mut check.unavoidable
                } else {
                    &mut check.blocking
                };
                list.push((Arc::clone(&topic.name), index));
            }
        }
        check
    }

    /// Nothing stops that could go on.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.blocking.is_empty()
    }
}
