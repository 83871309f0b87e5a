//! Forgetting a coordinator that did not come back: its id is free again.

use highwater_proto::metadata::{Change, MetadataImage, NodeRole, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId};

use crate::cluster::{Command, Decision, Settings};

/// A coordinator was fenced for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgetNode {
    /// The node.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

impl Command for ForgetNode {
    /// True if the node is unknown now.
    type Reply = bool;

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<bool> {
        let Some(node) = image.node(self.node) else {
            return Decision::unchanged(true);
        };
        let owns = image
            .shards
            .values()
            .any(|assignment| assignment.owner == Some(self.node));
        let stateless = node.registration.role == NodeRole::Coordinator;
        if !stateless || owns || node.epoch != self.epoch || node.state != NodeState::Fenced {
            return Decision::unchanged(false);
        }
        Decision {
            steps: vec![vec![Change::DeleteNode(self.node)]],
            reply: true,
        }
    }
}
