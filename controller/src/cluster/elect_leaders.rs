//! ElectLeaders (rule 107): an administrator wants the preferred leader back, or any leader at all.

use std::collections::BTreeSet;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Partition, Topic};
use highwater_proto::types::{PartitionIndex, TopicPartition};

use crate::cluster::election::{self, LogEnds, Voters};
use crate::cluster::{Command, Decision, LeaderMove, Refusal, Settings, Steps};

/// Who shall lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any live replica, if nobody leads: records may be lost.
    Unclean,
}

/// A request for elections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeaders {
    /// Who shall lead.
    pub election: ElectionType,
    /// Topic names and partitions; `None` = every partition that needs it.
    pub partitions: Option<Vec<(String, PartitionIndex)>>,
    /// Log ends of candidates, as far as they were asked.
    pub ends: std::collections::BTreeMap<TopicPartition, LogEnds>,
}

/// What became of one election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectedLeader {
    /// Name of the topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Done, or why not.
    pub result: Result<(), Refusal>,
}

impl Command for ElectLeaders {
    /// One result per partition, in the order of the request; without a list, those that needed an election.
    type Reply = Vec<ElectedLeader>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let mut steps = Steps::new();
        let mut results = Vec::new();
        match &self.partitions {
            Some(partitions) => {
                let mut seen = BTreeSet::new();
                for (name, index) in partitions {
                    let result = if seen.insert((name, index)) {
                        self.elect_named(image, settings, name, *index, &mut steps)
                    } else {
                        Err(not_needed())
                    };
                    results.push(ElectedLeader {
                        topic: name.clone(),
                        partition: *index,
                        result,
                    });
                }
            }
            None => {
                for topic in image.topics() {
                    for (index, partition) in topic.indexed_partitions() {
                        let result = self.elect(image, settings, topic, index, partition, &mut steps);
                        let needed = !matches!(&result, Err(refusal) if refusal.code == ErrorCode::ElectionNotNeeded);
                        if needed {
                            results.push(ElectedLeader {
                                topic: topic.name.to_string(),
                                partition: index,
                                result,
                            });
                        }
                    }
                }
            }
        }
        Decision {
            steps: steps.finish(),
            reply: results,
        }
    }
}

impl ElectLeaders {
    /// The leaderships that this moves: their leaders are asked to hand over first.
    #[must_use]
    pub fn planned_moves(&self, image: &MetadataImage, settings: &Settings) -> Vec<LeaderMove> {
        let changes = self.decide(image, settings).steps.into_iter().flatten();
        let moves = changes.filter_map(|change| {
            let Change::PutPartition(topic_id, partition, after) = change else {
                return None;
            };
            let leader_epoch = image.partition(topic_id, partition)?.leader_epoch;
            Some(LeaderMove {
                key: TopicPartition { topic_id, partition },
                leader_epoch,
                target: after.leader?,
            })
        });
        moves.collect()
    }

    fn elect_named(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        name: &str,
        index: PartitionIndex,
        steps: &mut Steps,
    ) -> Result<(), Refusal> {
        let unknown = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let topic = image
            .topic(name)
            .ok_or_else(|| unknown(format!("No such topic as {name}")))?;
        let partition = topic
            .partition(index)
            .ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
        self.elect(image, settings, topic, index, partition, steps)
    }

    fn elect(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        topic: &Topic,
        index: PartitionIndex,
        partition: &Partition,
        steps: &mut Steps,
    ) -> Result<(), Refusal> {
        let voters = Voters::new(image, settings, topic, partition);
        let mut changed = partition.clone();
        match self.election {
            ElectionType::Preferred if partition.leader == partition.replicas.first().copied() => {
                return Err(not_needed());
            }
            ElectionType::Unclean if partition.leader.is_some() => return Err(not_needed()),
            ElectionType::Preferred => {
                let preferred = partition.replicas.first().copied();
                let able = preferred.filter(|node| partition.isr.contains(node) && voters.eligible(partition, *node));
                if able.is_none() {
                    let message = "The preferred leader was not available.";
                    return Err(Refusal::new(ErrorCode::PreferredLeaderNotAvailable, message));
                }
                election::set_leader(&mut changed, able);
            }
            ElectionType::Unclean => {
                let key = TopicPartition {
                    topic_id: topic.id,
                    partition: index,
                };
                let nothing_known = LogEnds::new();
                let ends = self.ends.get(&key).unwrap_or(&nothing_known);
                if !voters.allowing_unclean().elect(&mut changed, ends) {
                    let message = "Eligible topic partition leaders are not available.";
                    return Err(Refusal::new(ErrorCode::EligibleLeadersNotAvailable, message));
                }
            }
        }
        steps.push(Change::PutPartition(topic.id, index, changed));
        Ok(())
    }
}

fn not_needed() -> Refusal {
    let message = "Leader election not needed for topic partition.";
    Refusal::new(ErrorCode::ElectionNotNeeded, message)
}
