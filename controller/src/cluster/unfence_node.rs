//! Unfencing: a broker has recovered its logs and may lead again.

use std::collections::BTreeSet;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, NodeRole, NodeState, Rebalance};
use highwater_proto::types::{BrokerEpoch, NodeId, TopicPartition};

use crate::cluster::election::{Distrust, LogEnds, Voters};
use crate::cluster::{Command, Decision, Refusal, Settings, Steps, shards};

/// Replicas that recovery found wanting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistrustedReplicas {
    /// The log ends below its recorded flush point.
    pub short: BTreeSet<TopicPartition>,
    /// The log is not there.
    pub missing: BTreeSet<TopicPartition>,
    /// The log cannot be read: its disk failed.
    pub offline: BTreeSet<TopicPartition>,
    /// They may have acknowledged from the page cache before an unclean stop (`write.caching`).
    pub untrusted: BTreeSet<TopicPartition>,
}

/// A registered node is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfenceNode {
    /// The node.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// What must leave the ISR before anything is elected.
    pub replicas: DistrustedReplicas,
}

impl Command for UnfenceNode {
    type Reply = Result<(), Refusal>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let Some(node) = image.node(self.node).filter(|node| node.epoch == self.epoch) else {
            let message = format!("node {} is not registered with epoch {}", self.node, self.epoch);
            return Decision::unchanged(Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message)));
        };
        match node.state {
            NodeState::Active | NodeState::Cordoned | NodeState::Draining => return Decision::unchanged(Ok(())),
            NodeState::Fencing => {
                let message = format!("node {} is being fenced", self.node);
                return Decision::unchanged(Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message)));
            }
            NodeState::Fenced => {}
        }
        let mut steps = Steps::new();
        let removed = match node.registration.role {
            NodeRole::Broker => self.remove_distrusted(image, settings, &mut steps),
            NodeRole::Coordinator => image.clone(),
        };
        steps.cut();
        let active = Change::PutNodeState(self.node, NodeState::Active);
        let image = image_after(&removed, std::slice::from_ref(&active));
        steps.push(active);
        if self.joins(&image, settings) {
            steps.push(Change::PutRebalance(self.share(&image.rebalance)));
        }
        match node.registration.role {
            NodeRole::Broker => self.elect(&image, settings, &mut steps),
            // Shards of others follow by planned hand-over.
            NodeRole::Coordinator => shards::assign(&image, &mut steps),
        }
        Decision {
            steps: steps.finish(),
            reply: Ok(()),
        }
    }
}

impl UnfenceNode {
    fn remove_distrusted(&self, image: &MetadataImage, settings: &Settings, steps: &mut Steps) -> MetadataImage {
        let mut changes = Vec::new();
        for topic in image.topics() {
            for (index, partition) in topic.indexed_partitions() {
                if !partition.replicas.contains(&self.node) {
                    continue;
                }
                let key = TopicPartition {
                    topic_id: topic.id,
                    partition: index,
                };
                let voters = Voters::new(image, settings, topic, partition);
                let mut changed = (**partition).clone();
                // Those that went offline since the process started, and are not named here, still are.
                if self.replicas.offline.contains(&key) && !changed.offline_replicas.contains(&self.node) {
                    // What the disk holds may come back, so a last member keeps its seat; it leads nothing.
                    changed.offline_replicas.push(self.node);
                    voters.fence(&mut changed, self.node);
                }
                if self.replicas.short.contains(&key) || self.replicas.missing.contains(&key) {
                    voters.distrust(&mut changed, self.node, Distrust::Lost);
                } else if self.replicas.untrusted.contains(&key) {
                    voters.distrust(&mut changed, self.node, Distrust::Unclean);
                }
                if changed != **partition {
                    changes.push(Change::PutPartition(topic.id, index, changed));
                }
            }
        }
        let after = image_after(image, &changes);
        for change in changes {
            steps.push(change);
        }
        after
    }

    /// True for a broker without replicas in a cluster that has some: it gets its share.
    fn joins(&self, image: &MetadataImage, settings: &Settings) -> bool {
        let takes = image
            .node(self.node)
            .is_some_and(|node| node.registration.role == NodeRole::Broker && node.state == NodeState::Active);
        if !settings.auto_rebalance
            || !takes
            || image.topic_count() == 0
            || self.share(&image.rebalance) == image.rebalance
        {
            return false;
        }
        let mut partitions = image.topics().flat_map(|topic| &topic.partitions);
        !partitions.any(|partition| partition.replicas.contains(&self.node))
    }

    /// A rebalance of which this broker gets its share.
    fn share(&self, rebalance: &Rebalance) -> Rebalance {
        let mut rebalance = rebalance.clone();
        if rebalance.wanted && !rebalance.onto.is_empty() && !rebalance.onto.contains(&self.node) {
            rebalance.onto.push(self.node);
        }
        rebalance.wanted = true;
        rebalance
    }

    /// Partitions without a leader get this node, where it may lead.
    fn elect(&self, image: &MetadataImage, settings: &Settings, steps: &mut Steps) {
        for topic in image.topics() {
            for (index, partition) in topic.indexed_partitions() {
                if partition.leader.is_some() || !partition.replicas.contains(&self.node) {
                    continue;
                }
                let mut elected = (**partition).clone();
                if Voters::new(image, settings, topic, partition).elect(&mut elected, &LogEnds::new()) {
                    steps.push(Change::PutPartition(topic.id, index, elected));
                }
            }
        }
    }
}

/// The image as it will be once these changes are committed; its revision is not the one they will get.
pub(super) fn image_after(image: &MetadataImage, changes: &[Change]) -> MetadataImage {
    let revision = highwater_proto::types::Revision(image.revision.get() + 1);
    image.apply(&highwater_proto::metadata::MetadataUpdate {
        revision,
        changes: changes.to_vec(),
    })
}
