//! What an administrator wants nodes for: cordoned ones get nothing new, draining ones are emptied. It outlives their
//! restarts.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, NodeDuty, Rebalance};
use highwater_proto::types::NodeId;

use crate::cluster::{Command, Decision, Refusal, Settings, Steps};

/// What is asked for. What is so already stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DutyChange {
    /// Nothing new.
    Cordon,
    /// Takes a cordon back. A node that drains goes on draining.
    Uncordon,
    /// Everything goes elsewhere.
    Decommission {
        /// Bytes per second of what leaves draining brokers, for each broker that copies and each that is copied from;
        /// `None` = no limit.
        throttle: Option<u64>,
    },
    /// Takes a decommission back: the node is in full service again. Replicas on their way still arrive.
    Recommission,
}

/// Nodes get another duty, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetNodeDuty {
    /// The nodes.
    pub nodes: Vec<NodeId>,
    /// What changes.
    pub change: DutyChange,
}

impl DutyChange {
    fn apply(self, duty: NodeDuty) -> NodeDuty {
        match (self, duty) {
            (Self::Cordon, NodeDuty::Full) => NodeDuty::Cordoned,
            (Self::Uncordon, NodeDuty::Cordoned) | (Self::Recommission, NodeDuty::Draining) => NodeDuty::Full,
            (Self::Decommission { .. }, _) => NodeDuty::Draining,
            (Self::Cordon | Self::Uncordon | Self::Recommission, other) => other,
        }
    }
}

impl Command for SetNodeDuty {
    type Reply = Result<(), Refusal>;

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<Self::Reply> {
        let mut steps = Steps::new();
        for id in &self.nodes {
            let Some(node) = image.node(*id) else {
                let message = format!("Node {id} is not registered");
                return Decision::unchanged(Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message)));
            };
            let duty = self.change.apply(node.duty);
            if duty != node.duty {
                steps.push(Change::PutNodeDuty(*id, duty));
            }
        }
        if let DutyChange::Decommission { throttle } = self.change
            && image.rebalance.drain_throttle != throttle
        {
            steps.push(Change::PutRebalance(Rebalance {
                drain_throttle: throttle,
                ..image.rebalance.clone()
            }));
        }
        Decision {
            steps: steps.finish(),
            reply: Ok(()),
        }
    }
}
