//! The end of reassignments that take the leader away: once it has handed over, one put does all. Those that keep their
//! leader end by themselves, in `reconcile`.

use highwater_proto::metadata::{Change, MetadataImage, diff};
use highwater_proto::types::TopicPartition;

use crate::cluster::{Command, Decision, LeaderMove, Settings, Steps, reassignment};

/// Leaders have handed over, or did not in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompleteReassignments {
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
}

impl Command for CompleteReassignments {
    /// How many are done.
    type Reply = usize;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<usize> {
        let mut steps = Steps::new();
        let mut done = 0;
        for key in &self.partitions {
            let topic = image.topic_by_id(key.topic_id);
            let found = topic.and_then(|topic| Some((topic, topic.partition(key.partition)?)));
            if let Some((topic, partition)) = found
                && let Some(completed) = reassignment::complete(image, settings, topic, partition)
            {
                steps.push(Change::PutPartition(topic.id, key.partition, completed));
                done += 1;
            }
        }
        Decision {
            steps: steps.finish(),
            reply: done,
        }
    }
}

/// Reassignments that only wait for their leader to hand over, in topics that differ from those of an earlier image,
/// with the replica that leads next.
#[must_use]
pub fn awaited(earlier: &MetadataImage, image: &MetadataImage, settings: &Settings) -> Vec<LeaderMove> {
    let difference = diff(earlier, image);
    let changed = difference.topics_changed.iter().map(|(_, topic)| *topic);
    let created = difference.topics_created.iter().copied();
    let everything = !difference.nodes.is_empty();
    let topics: Vec<_> = match everything {
        true => image.topics().collect(),
        false => changed.chain(created).collect(),
    };
    let mut moves = Vec::new();
    for topic in topics {
        for (index, partition) in topic.indexed_partitions() {
            if !reassignment::leader_leaves(partition) {
                continue;
            }
            let completed = reassignment::complete(image, settings, topic, partition);
            if let Some(target) = completed.and_then(|completed| completed.leader) {
                moves.push(LeaderMove {
                    key: TopicPartition {
                        topic_id: topic.id,
                        partition: index,
                    },
                    leader_epoch: partition.leader_epoch,
                    target,
                });
            }
        }
    }
    moves
}
