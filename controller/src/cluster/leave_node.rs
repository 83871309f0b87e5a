//! Controlled shutdown: leadership moves away before the process stops.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId};

use crate::cluster::election::{self, Voters};
use crate::cluster::{Command, Decision, Refusal, Settings, Steps, fence_node};

/// A node wants to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaveNode {
    /// The node.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// The node has waited long enough: it goes, even where fewer than min ISR remain.
    pub now: bool,
}

/// How far the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It is fenced and may stop.
    Done,
    /// So many partitions wait for another replica to catch up; ask again.
    Waiting(usize),
}

impl Command for LeaveNode {
    type Reply = Result<Leaving, Refusal>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let Some(node) = image.node(self.node).filter(|node| node.epoch == self.epoch) else {
            let message = format!("node {} is not registered with epoch {}", self.node, self.epoch);
            return Decision::unchanged(Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message)));
        };
        if node.state == NodeState::Fenced {
            return Decision::unchanged(Ok(Leaving::Done));
        }
        let (steps, waiting) = self.hand_over(image, settings);
        if waiting > 0 && !self.now {
            return Decision {
                steps: steps.finish(),
                reply: Ok(Leaving::Waiting(waiting)),
            };
        }
        let mut steps = Steps::new();
        fence_node::fence(image, settings, self.node, &mut steps);
        steps.push(Change::PutNodeState(self.node, NodeState::Fenced));
        Decision {
            steps: steps.finish(),
            reply: Ok(Leaving::Done),
        }
    }
}

impl LeaveNode {
    /// Moves leaders to other members of the ISR and leaves each ISR in which min ISR remains. Answers how many
    /// partitions have a live replica that may still join.
    fn hand_over(&self, image: &MetadataImage, settings: &Settings) -> (Steps, usize) {
        let mut steps = Steps::new();
        let mut waiting = 0;
        for topic in image.topics() {
            for (index, partition) in topic.indexed_partitions() {
                if !partition.isr.contains(&self.node) {
                    continue;
                }
                let voters = Voters::new(image, settings, topic, partition).without(self.node);
                let mut changed = (**partition).clone();
                if partition.isr.len() > voters.min_isr() {
                    voters.fence(&mut changed, self.node);
                } else {
                    let mut others = partition.replicas.iter().filter(|node| **node != self.node);
                    let next = others
                        .clone()
                        .find(|node| partition.isr.contains(node) && is_live(image, **node));
                    if let (Some(next), true) = (next, partition.leader == Some(self.node)) {
                        election::set_leader(&mut changed, Some(*next));
                    }
                    let may_join = others.any(|node| !partition.isr.contains(node) && is_live(image, *node));
                    waiting += usize::from(may_join);
                }
                if changed != **partition {
                    steps.push(Change::PutPartition(topic.id, index, changed));
                }
            }
        }
        (steps, waiting)
    }
}

fn is_live(image: &MetadataImage, node: NodeId) -> bool {
    image.live_broker(node).is_some()
}
