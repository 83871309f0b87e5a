//! Planned moves of leaderships: to an in-sync replica that was chosen, once the old leader has handed over.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::{LeaderEpoch, NodeId, TopicPartition};

use crate::cluster::election::{self, Voters};
use crate::cluster::{Command, Decision, Refusal, Settings, Steps};

/// One planned move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderMove {
    /// The partition.
    pub key: TopicPartition,
    /// The leader epoch that ends with the move: it says whose leadership is meant.
    pub leader_epoch: LeaderEpoch,
    /// Who leads next.
    pub target: NodeId,
}

/// Leaderships move. Who stops, drains, stalls or is not the preferred leader has its leaderships moved by this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveLeaders {
    /// The moves.
    pub moves: Vec<LeaderMove>,
}

impl Command for MoveLeaders {
    /// One result per move, in their order.
    type Reply = Vec<Result<(), Refusal>>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let mut steps = Steps::new();
        let results = self
            .moves
            .iter()
            .map(|wanted| wanted.decide(image, settings, &mut steps));
        let reply = results.collect();
        Decision {
            steps: steps.finish(),
            reply,
        }
    }
}

impl LeaderMove {
    fn decide(&self, image: &MetadataImage, settings: &Settings, steps: &mut Steps) -> Result<(), Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, message));
        let found = image.topic_by_id(self.key.topic_id);
        let Some((topic, partition)) = found.and_then(|topic| Some((topic, topic.partition(self.key.partition)?)))
        else {
            return refuse(ErrorCode::UnknownTopicOrPartition, "the partition is gone".to_owned());
        };
        if partition.leader_epoch != self.leader_epoch || partition.leader.is_none() {
            let message = format!("the partition is in leader epoch {} by now", partition.leader_epoch);
            return refuse(ErrorCode::FencedLeaderEpoch, message);
        }
        if partition.leader == Some(self.target) {
            return Ok(());
        }
        let voters = Voters::new(image, settings, topic, partition);
        if !partition.isr.contains(&self.target) || !voters.eligible(partition, self.target) {
            let message = format!("broker {} is not in sync, or not live", self.target);
            return refuse(ErrorCode::EligibleLeadersNotAvailable, message);
        }
        let mut changed = (**partition).clone();
        election::set_leader(&mut changed, Some(self.target));
        steps.push(Change::PutPartition(topic.id, self.key.partition, changed));
        Ok(())
    }
}

/// Where the leaderships of a broker go when it is to have none: to the first other replica in sync that can lead and
/// whose disk does not stall. Those without such a replica stay.
#[must_use]
pub fn successors(image: &MetadataImage, settings: &Settings, leader: NodeId) -> Vec<LeaderMove> {
    let mut moves = Vec::new();
    for topic in image.topics() {
        for (index, partition) in topic.indexed_partitions() {
            if partition.leader != Some(leader) {
                continue;
            }
            let voters = Voters::new(image, settings, topic, partition).without(leader);
            let mut replicas = partition.replicas.iter().copied();
            let target = replicas.find(|node| partition.isr.contains(node) && voters.fit(partition, *node));
            if let Some(target) = target {
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
