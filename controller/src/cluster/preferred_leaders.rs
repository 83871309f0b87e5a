//! Leaderships that are not where they belong: with the first replica, once it is in sync.

use highwater_proto::metadata::{MetadataImage, NodeState, Partition, Topic};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::cluster::election::Voters;
use crate::cluster::{LeaderMove, Settings};

/// The moves that give leadership back to preferred leaders, at most so many.
#[must_use]
pub fn wanted(image: &MetadataImage, settings: &Settings, limit: usize) -> Vec<LeaderMove> {
    let topics = image.topics();
    let partitions = topics.flat_map(|topic| topic.indexed_partitions().map(move |found| (topic, found)));
    let moves = partitions.filter_map(|(topic, (index, partition))| {
        let target = able(image, settings, topic, partition)?;
        Some(LeaderMove {
            key: TopicPartition {
                topic_id: topic.id,
                partition: index,
            },
            leader_epoch: partition.leader_epoch,
            target,
        })
    });
    moves.take(limit).collect()
}

/// The preferred leader, if another one leads and it could.
fn able(image: &MetadataImage, settings: &Settings, topic: &Topic, partition: &Partition) -> Option<NodeId> {
    let preferred = *partition.replicas.first()?;
    // Nearly all of them: no need to look any further.
    if partition.leader? == preferred || partition.is_reassigning() || !partition.isr.contains(&preferred) {
        return None;
    }
    let unfit = image
        .node(preferred)
        .is_none_or(|node| node.state == NodeState::Draining || node.disk.stalled);
    let voters = Voters::new(image, settings, topic, partition);
    (!unfit && voters.eligible(partition, preferred)).then_some(preferred)
}
