//! Where new replicas go: spread over racks, then to who has least of the topic and of everything, leaders likewise.
//! Deterministic: the same image gives the same placement.

use std::collections::BTreeMap;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{MetadataImage, Node, NodeState, Partition, Topic};
use highwater_proto::types::{LeaderEpoch, NodeId};

use crate::cluster::Refusal;

/// How much a broker carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    leaders: usize,
    replicas: usize,
}

/// Places partitions one after the other; what it placed counts for what comes next.
pub(super) struct Placement<'a> {
    brokers: Vec<&'a Node>,
    total: BTreeMap<NodeId, Load>,
    of_topic: BTreeMap<NodeId, Load>,
}

impl<'a> Placement<'a> {
    pub(super) fn new(image: &'a MetadataImage) -> Self {
        let mut total = BTreeMap::new();
        for topic in image.topics() {
            count(topic, &mut total);
        }
        Self {
            brokers: image.brokers().map(|node| &**node).collect(),
            total,
            of_topic: BTreeMap::new(),
        }
    }

    /// Starts with another topic, which may have partitions already.
    pub(super) fn begin_topic(&mut self, topic: Option<&Topic>) {
        self.of_topic.clear();
        if let Some(topic) = topic {
            count(topic, &mut self.of_topic);
        }
    }

    /// Refuses a replication factor that registered brokers cannot give. Fenced ones count: they come back.
    pub(super) fn check(&self, replication_factor: usize) -> Result<(), Refusal> {
        let registered = self.brokers.len();
        let reason = if !self.brokers.iter().any(|broker| broker.is_live()) {
            "All brokers are currently fenced or in controlled shutdown.".to_owned()
        } else if replication_factor > registered {
            format!(
                "The target replication factor of {replication_factor} cannot be reached because only {registered} \
                 broker(s) are registered."
            )
        } else {
            return Ok(());
        };
        let message = format!("Unable to replicate the partition {replication_factor} time(s): {reason}");
        Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
    }

    /// Replicas of the next partition; the first one is live. The replication factor passed [`Self::check`].
    pub(super) fn place(&mut self, replication_factor: usize) -> Vec<NodeId> {
        let mut chosen: Vec<&Node> = Vec::with_capacity(replication_factor);
        while chosen.len() < replication_factor {
            let free = self
                .brokers
                .iter()
                .copied()
                .filter(|node| chosen.iter().all(|taken| taken.id != node.id));
            let best = free.min_by_key(|node| self.cost(node, &chosen));
            let Some(best) = best else { break };
            chosen.push(best);
        }
        for (position, node) in chosen.iter().enumerate() {
            for loads in [&mut self.total, &mut self.of_topic] {
                let load = loads.entry(node.id).or_default();
                load.replicas += 1;
                load.leaders += usize::from(position == 0);
            }
        }
        chosen.iter().map(|node| node.id).collect()
    }

    /// Lower is better, compared from left to right.
    fn cost(&self, node: &Node, chosen: &[&Node]) -> (u8, bool, [usize; 4], NodeId) {
        let availability = match node.state {
            NodeState::Active => 0,
            NodeState::Cordoned | NodeState::Draining => 1,
            NodeState::Fenced | NodeState::Fencing => 2,
        };
        let rack_taken = node.registration.rack.is_some()
            && chosen
                .iter()
                .any(|taken| taken.registration.rack == node.registration.rack);
        let of_topic = self.of_topic.get(&node.id).copied().unwrap_or_default();
        let total = self.total.get(&node.id).copied().unwrap_or_default();
        let load = if chosen.is_empty() {
            [of_topic.leaders, of_topic.replicas, total.leaders, total.replicas]
        } else {
            [of_topic.replicas, total.replicas, of_topic.leaders, total.leaders]
        };
        (availability, rack_taken, load, node.id)
    }
}

fn count(topic: &Topic, loads: &mut BTreeMap<NodeId, Load>) {
    for partition in &topic.partitions {
        for (position, node) in partition.replicas.iter().enumerate() {
            let load = loads.entry(*node).or_default();
            load.replicas += 1;
            load.leaders += usize::from(position == 0);
        }
    }
}

/// A partition as it begins: its live replicas are in sync, the first of them leads.
pub(super) fn new_partition(image: &MetadataImage, replicas: Vec<NodeId>) -> Partition {
    let isr: Vec<NodeId> = replicas
        .iter()
        .copied()
        .filter(|node| image.live_broker(*node).is_some())
        .collect();
    Partition {
        leader: isr.first().copied(),
        isr,
        replicas,
        leader_epoch: LeaderEpoch(0),
        ..Partition::default()
    }
}
