//! A rebalance is asked for, taken back, or done with.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, NodeRole, Rebalance};
use highwater_proto::types::NodeId;

use crate::cluster::{Command, Decision, Refusal, Settings};

/// What is wanted from now on. The limit of drains stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantRebalance {
    /// Evens out replicas and leaders; another wish that was there is replaced.
    Begin {
        /// Only these brokers get more; empty = all.
        onto: Vec<NodeId>,
        /// Bytes per second, for each broker that copies and each that is copied from; `None` = no limit.
        throttle: Option<u64>,
    },
    /// Begins nothing more. What is under way goes on as it does.
    Cancel,
    /// It is done: nothing is left of it.
    Done,
}

impl Command for WantRebalance {
    type Reply = Result<(), Refusal>;

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<Self::Reply> {
        let before = &image.rebalance;
        let after = match self {
            Self::Begin { onto, throttle } => {
                let is_broker = |id: &NodeId| {
                    image
                        .node(*id)
                        .is_some_and(|it| it.registration.role == NodeRole::Broker)
                };
                if let Some(unknown) = onto.iter().find(|id| !is_broker(id)) {
                    let message = format!("Broker {unknown} is not registered");
                    return Decision::unchanged(Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message)));
                }
                let mut onto = onto.clone();
                onto.sort_unstable();
                onto.dedup();
                Rebalance {
                    wanted: true,
                    onto,
                    throttle: *throttle,
                    drain_throttle: before.drain_throttle,
                }
            }
            Self::Cancel => Rebalance {
                wanted: false,
                onto: Vec::new(),
                ..before.clone()
            },
            Self::Done => Rebalance {
                drain_throttle: before.drain_throttle,
                ..Rebalance::default()
            },
        };
        let steps = if after == *before {
            Vec::new()
        } else {
            vec![vec![Change::PutRebalance(after)]]
        };
        Decision { steps, reply: Ok(()) }
    }
}
