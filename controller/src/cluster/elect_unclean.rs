//! Unclean elections: nobody who is trusted to hold what was acknowledged can lead, and the topic takes a leader that may
//! lack some of it rather than none. The longest log of the live replicas leads, so they are asked first.

use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::metadata::{Change, MetadataImage, Partition, Topic, diff};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::cluster::election::{LogEnds, Voters};
use crate::cluster::{Command, Decision, Settings, Steps};

/// Elections by the logs of those who answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElectUnclean {
    /// Where the logs end, of the replicas that answered.
    pub ends: BTreeMap<TopicPartition, LogEnds>,
}

impl Command for ElectUnclean {
    /// The partitions that have a leader by this.
    type Reply = Vec<TopicPartition>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let mut steps = Steps::new();
        let mut elected = Vec::new();
        for (key, ends) in &self.ends {
            let Some((topic, partition)) = find(image, key) else {
                continue;
            };
            if partition.leader.is_some() {
                continue;
            }
            let mut changed = partition.clone();
            if Voters::new(image, settings, topic, partition).elect(&mut changed, ends) {
                steps.push(Change::PutPartition(topic.id, key.partition, changed));
                elected.push(*key);
            }
        }
        Decision {
            steps: steps.finish(),
            reply: elected,
        }
    }
}

/// The replicas to ask before a partition gets an unclean leader; none if it has a leader, can have a clean one, or takes
/// no other.
#[must_use]
pub fn candidates(image: &MetadataImage, settings: &Settings, key: &TopicPartition) -> Vec<NodeId> {
    find(image, key).map_or_else(Vec::new, |(topic, partition)| {
        candidates_of(image, settings, topic, partition)
    })
}

fn candidates_of(image: &MetadataImage, settings: &Settings, topic: &Topic, partition: &Partition) -> Vec<NodeId> {
    if partition.leader.is_some() {
        return Vec::new();
    }
    Voters::new(image, settings, topic, partition).unclean_candidates(partition)
}

/// The partitions for which somebody has to be asked, among those that differ from `settled`, an image for which this
/// was asked before (the empty image if there is none).
#[must_use]
pub fn wanted(settled: &MetadataImage, image: &MetadataImage, settings: &Settings) -> BTreeSet<TopicPartition> {
    let difference = diff(settled, image);
    // Who may lead depends on nodes and on configs as well; then every partition is looked at.
    let all = !difference.nodes.is_empty() || !difference.configs.is_empty();
    let mut wanted = BTreeSet::new();
    let mut look_at = |topic: &Topic| {
        for (partition, state) in topic.indexed_partitions() {
            if state.leader.is_none() && !candidates_of(image, settings, topic, state).is_empty() {
                wanted.insert(TopicPartition {
                    topic_id: topic.id,
                    partition,
                });
            }
        }
    };
    if all {
        image.topics().for_each(|topic| look_at(topic));
    } else {
        let changed = difference.topics_changed.iter().map(|(_, topic)| *topic);
        let created = difference.topics_created.iter().copied();
        changed.chain(created).for_each(|topic| look_at(topic));
    }
    wanted
}

fn find<'a>(image: &'a MetadataImage, key: &TopicPartition) -> Option<(&'a Topic, &'a Partition)> {
    let topic = image.topic_by_id(key.topic_id)?;
    Some((topic, topic.partition(key.partition)?))
}
