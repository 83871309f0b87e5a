//! Unregistering a broker that does not come back: its id is free, and what it stored counts for nothing any more.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Node, NodeRole, Partition, Topic};
use highwater_proto::types::{BrokerEpoch, NodeId, PartitionIndex};
use uuid::Uuid;

use crate::cluster::election::{Distrust, Voters};
use crate::cluster::{Command, Decision, Refusal, Settings, Step, Steps, fence_node};

/// A broker is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnregisterNode {
    /// The broker.
    pub node: NodeId,
    /// The registration that is meant; `None` = whichever it is.
    pub epoch: Option<BrokerEpoch>,
}

/// The registration that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unregistered {
    /// The process start; it may still run.
    pub incarnation: Uuid,
    /// Its epoch.
    pub epoch: BrokerEpoch,
}

impl Command for UnregisterNode {
    type Reply = Result<Unregistered, Refusal>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let broker = image
            .node(self.node)
            .filter(|node| node.registration.role == NodeRole::Broker);
        let Some(node) = broker else {
            let message = format!("Broker ID {} is not currently registered", self.node);
            return Decision::unchanged(Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message)));
        };
        if self.epoch.is_some_and(|epoch| epoch != node.epoch) {
            let message = format!("broker {} is registered with epoch {}", self.node, node.epoch);
            return Decision::unchanged(Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message)));
        }
        if let Err(refusal) = check(image, node) {
            return Decision::unchanged(Err(refusal));
        }
        Decision {
            steps: steps(image, settings, node),
            reply: Ok(Unregistered {
                incarnation: node.registration.incarnation,
                epoch: node.epoch,
            }),
        }
    }
}

/// A running broker must be empty; of one that is gone, nothing may be lost with it.
fn check(image: &MetadataImage, node: &Node) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    for (topic, index, partition) in replicas_of(image, node.id) {
        if node.is_live() {
            return refuse(format!(
                "Broker {} is running and replicates {}-{index}: move its replicas away, or stop it first.",
                node.id, topic.name
            ));
        }
        let mut others = partition.isr.iter().chain(&partition.elr).filter(|id| **id != node.id);
        if others.next().is_none() && holds(partition, node.id) {
            return refuse(format!(
                "Broker {} has the only replica of {}-{index} that holds all its records.",
                node.id, topic.name
            ));
        }
    }
    Ok(())
}

fn holds(partition: &Partition, node: NodeId) -> bool {
    partition.isr.contains(&node) || partition.elr.contains(&node) || partition.last_known_leader == Some(node)
}

fn steps(image: &MetadataImage, settings: &Settings, node: &Node) -> Vec<Step> {
    let mut steps = Steps::new();
    fence_node::fence(image, settings, node.id, &mut steps);
    // Its replicas stay in the lists, as those of a broker that is gone: whoever comes with this id begins empty.
    for (topic, index, partition) in replicas_of(image, node.id) {
        let voters = Voters::new(image, settings, topic, partition).without(node.id);
        let mut changed = partition.clone();
        voters.fence(&mut changed, node.id);
        voters.distrust(&mut changed, node.id, Distrust::Lost);
        if changed != *partition {
            steps.push(Change::PutPartition(topic.id, index, changed));
        }
    }
    steps.cut();
    steps.push(Change::DeleteNode(node.id));
    steps.finish()
}

fn replicas_of(image: &MetadataImage, node: NodeId) -> impl Iterator<Item = (&Topic, PartitionIndex, &Partition)> {
    let topics = image.topics().map(|topic| &**topic);
    let partitions = topics.flat_map(|topic| {
        topic
            .indexed_partitions()
            .map(move |(index, partition)| (topic, index, &**partition))
    });
    partitions.filter(move |(_, _, partition)| partition.replicas.contains(&node))
}
