//! Controlled shutdown: leadership moves away before the process stops.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId};

use crate::cluster::{Command, Decision, MoveLeaders, Refusal, Settings, Step, Steps, fence_node, move_leaders};

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
        let waiting = self.waits_for(image, settings);
        if waiting > 0 && !self.now {
            return Decision {
                steps: self.move_leaders(image, settings),
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
    /// Leaderships go to other members of the ISR. The node stays in ISRs until it may leave all of them: out of some, it
    /// would only be taken in again.
    fn move_leaders(&self, image: &MetadataImage, settings: &Settings) -> Vec<Step> {
        let moves = move_leaders::successors(image, settings, self.node);
        MoveLeaders { moves }.decide(image, settings).steps
    }

    /// How many partitions would be left with less than min ISR, although the other replicas are enough for it. One that
    /// is not live may be: a broker that is being restarted comes back.
    fn waits_for(&self, image: &MetadataImage, settings: &Settings) -> usize {
        let mut waiting = 0;
        for topic in image.topics() {
            for partition in topic.partitions.iter().filter(|it| it.isr.contains(&self.node)) {
                let min_isr = settings.min_isr(image, topic, partition);
                waiting += usize::from(partition.isr.len() <= min_isr && partition.replicas.len() > min_isr);
            }
        }
        waiting
    }
}
