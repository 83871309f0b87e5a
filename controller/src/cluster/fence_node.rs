//! Fencing: a node that is gone leads nothing, is in no ISR but as last member, and owns no shard.

use highwater_proto::metadata::{Change, MetadataImage, NodeRole, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId};

use crate::cluster::election::Voters;
use crate::cluster::{Command, Decision, Settings, Steps, shards};

/// A node's session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceNode {
    /// The node.
    pub node: NodeId,
    /// Its registration: a later one is not meant.
    pub epoch: BrokerEpoch,
}

impl Command for FenceNode {
    /// True if the node is fenced now; false if the registration is not the current one.
    type Reply = bool;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<bool> {
        let Some(node) = image.node(self.node).filter(|node| node.epoch == self.epoch) else {
            return Decision::unchanged(false);
        };
        if node.state == NodeState::Fenced {
            return Decision::unchanged(true);
        }
        let mut steps = Steps::new();
        fence(image, settings, self.node, &mut steps);
        steps.push(Change::PutNodeState(self.node, NodeState::Fenced));
        Decision {
            steps: steps.finish(),
            reply: true,
        }
    }
}

/// Everything between `fencing` and `fenced`, that last put excluded: whoever calls adds it, or the registration that
/// takes its place.
pub(super) fn fence(image: &MetadataImage, settings: &Settings, id: NodeId, steps: &mut Steps) {
    let Some(node) = image.node(id) else { return };
    if !matches!(node.state, NodeState::Fencing | NodeState::Fenced) {
        // Written first and alone: from here on every controller knows what is still to be done.
        steps.push(Change::PutNodeState(id, NodeState::Fencing));
        steps.cut();
    }
    match node.registration.role {
        NodeRole::Broker => fence_partitions(image, settings, id, steps),
        NodeRole::Coordinator => shards::release_from(image, id, steps),
    }
    steps.cut();
}

fn fence_partitions(image: &MetadataImage, settings: &Settings, id: NodeId, steps: &mut Steps) {
    for topic in image.topics() {
        for (index, partition) in topic.indexed_partitions() {
            let leads = partition.leader == Some(id);
            let leaves = partition.isr.len() > 1 && partition.isr.contains(&id);
            if !leads && !leaves {
                continue;
            }
            let mut changed = (**partition).clone();
            Voters::new(image, settings, topic, partition)
                .without(id)
                .fence(&mut changed, id);
            steps.push(Change::PutPartition(topic.id, index, changed));
        }
    }
}
