//! What happens to one partition: who leads, who leaves the ISR, who stays eligible (design section 4, rules 36 and 37).

use std::collections::BTreeMap;

use highwater_proto::metadata::{MetadataImage, Partition, Topic};
use highwater_proto::types::{LeaderEpoch, NodeId, Offset};

use crate::cluster::Settings;

/// Why a replica can no longer be trusted to hold what it acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It stopped uncleanly with write caching: it may have lost its tail. If no replica is better, the last known
    /// leader still leads again when it is back.
    Unclean,
    /// It certainly lost data: another or an empty directory, or a log that ends below its flush point.
    Lost,
}

/// Last epoch and log end of the replicas that were asked, for unclean elections.
pub type LogEnds = BTreeMap<NodeId, (LeaderEpoch, Offset)>;

/// What an election of one partition goes by.
pub struct Voters<'a> {
    image: &'a MetadataImage,
    excluded: Option<NodeId>,
    min_isr: usize,
    unclean_allowed: bool,
}

impl<'a> Voters<'a> {
    /// The rules of a partition as the image has them.
    #[must_use]
    pub fn new(image: &'a MetadataImage, settings: &Settings, topic: &Topic, partition: &Partition) -> Self {
        Self {
            image,
            excluded: None,
            min_isr: settings.min_isr(image, topic, partition),
            unclean_allowed: settings.unclean_allowed(image, topic),
        }
    }

    /// The same without a node that is about to go.
    #[must_use]
    pub fn without(mut self, node: NodeId) -> Self {
        self.excluded = Some(node);
        self
    }

    /// The same where an administrator takes any leader rather than none.
    #[must_use]
    pub fn allowing_unclean(mut self) -> Self {
        self.unclean_allowed = true;
        self
    }

    /// Min ISR of the partition.
    #[must_use]
    pub fn min_isr(&self) -> usize {
        self.min_isr
    }

    /// True if the node may lead the partition, as far as nodes and disks are concerned.
    pub(super) fn eligible(&self, partition: &Partition, node: NodeId) -> bool {
        self.excluded != Some(node)
            && !partition.offline_replicas.contains(&node)
            && self.image.live_broker(node).is_some()
    }

    /// Sets the ISR and keeps the ELR: replicas that leave an ISR below min ISR still hold everything below the high
    /// watermark, which does not move until min ISR is there again.
    pub fn set_isr(&self, partition: &mut Partition, isr: Vec<NodeId>) {
        if isr.len() >= self.min_isr {
            partition.elr.clear();
        } else {
            let mut elr = std::mem::take(&mut partition.elr);
            elr.extend(partition.isr.iter().copied());
            elr.retain(|node| !isr.contains(node));
            partition.elr = in_replica_order(partition, &elr);
        }
        partition.isr = in_replica_order(partition, &isr);
    }

    /// A live node leaves, or a node was lost: it leads nothing and leaves the ISR, but stays as its last member.
    /// Every partition that it led gets a new leader epoch, also if nobody else can lead.
    pub fn fence(&self, partition: &mut Partition, node: NodeId) {
        if partition.isr.contains(&node) && partition.isr.len() > 1 {
            let isr = partition.isr.iter().copied().filter(|member| *member != node).collect();
            self.set_isr(partition, isr);
        }
        if partition.leader == Some(node) {
            set_leader(partition, None);
            // The epoch is already a new one: the winner takes it.
            if let Some(winner) = self.winner(partition, &LogEnds::new()) {
                self.install(partition, winner);
            }
        }
    }

    /// An untrusted replica leaves ISR and ELR, also as the last member. Its node must not lead (it is fenced).
    pub fn distrust(&self, partition: &mut Partition, node: NodeId, distrust: Distrust) {
        partition.isr.retain(|member| *member != node);
        partition.elr.retain(|member| *member != node);
        if distrust == Distrust::Lost && partition.last_known_leader == Some(node) {
            partition.last_known_leader = None;
        }
    }

    /// Elects a leader for a partition that has none; false if nobody can lead.
    pub fn elect(&self, partition: &mut Partition, ends: &LogEnds) -> bool {
        let Some(winner) = self.winner(partition, ends) else {
            return false;
        };
        partition.leader_epoch = next_epoch(partition.leader_epoch);
        self.install(partition, winner);
        true
    }

    /// True if the node may lead the partition, and its disk does not stall.
    pub(super) fn fit(&self, partition: &Partition, node: NodeId) -> bool {
        self.eligible(partition, node) && self.image.node(node).is_some_and(|node| !node.disk.stalled)
    }

    /// First live of the ISR in replica order (one whose disk stalls only if all do), then of the ELR.
    fn clean_winner(&self, partition: &Partition) -> Option<NodeId> {
        let first = |members: &[NodeId], may_lead: fn(&Self, &Partition, NodeId) -> bool| {
            let mut replicas = partition.replicas.iter().copied();
            replicas.find(|node| members.contains(node) && may_lead(self, partition, *node))
        };
        first(&partition.isr, Self::fit)
            .or_else(|| first(&partition.isr, Self::eligible))
            .or_else(|| first(&partition.elr, Self::eligible))
    }

    /// The replicas whose logs decide an unclean election: none if a clean leader is there, or if the topic takes no
    /// other.
    #[must_use]
    pub fn unclean_candidates(&self, partition: &Partition) -> Vec<NodeId> {
        if !self.unclean_allowed || self.clean_winner(partition).is_some() {
            return Vec::new();
        }
        let replicas = partition.replicas.iter().copied();
        replicas.filter(|node| self.eligible(partition, *node)).collect()
    }

    /// A clean leader; then, if the topic allows it, the longest log (highest last epoch, then end) of those who were
    /// asked; else the last known leader, if no replica at all is trusted any more.
    fn winner(&self, partition: &Partition, ends: &LogEnds) -> Option<NodeId> {
        if let Some(clean) = self.clean_winner(partition) {
            return Some(clean);
        }
        if self.unclean_allowed {
            let candidates = self.unclean_candidates(partition);
            let asked = candidates.iter().enumerate();
            let longest = asked.filter_map(|(position, node)| {
                let end = *ends.get(node)?;
                Some(((end, std::cmp::Reverse(position)), *node))
            });
            return longest.max().map(|(_, node)| node);
        }
        let nobody_trusted = partition.isr.is_empty() && partition.elr.is_empty();
        partition
            .last_known_leader
            .filter(|node| nobody_trusted && self.eligible(partition, *node))
    }

    fn install(&self, partition: &mut Partition, winner: NodeId) {
        if !partition.isr.contains(&winner) {
            if partition.elr.contains(&winner) {
                self.set_isr(partition, vec![winner]);
            } else {
                // Unclean: whatever the others hold is no longer what the leader holds.
                partition.elr.clear();
                partition.isr = vec![winner];
            }
        }
        partition.leader = Some(winner);
        partition.last_known_leader = None;
        self.forget_stale_elr(partition);
    }

    /// With min ISR there, also because it was lowered, the high watermark moves, and who is not in the ISR may lack
    /// what is below it.
    fn forget_stale_elr(&self, partition: &mut Partition) {
        if partition.isr.len() >= self.min_isr {
            partition.elr.clear();
        }
    }
}

/// The partition of the image, if its leader, its ISR or its ELR is not what live nodes and configs allow, as it should
/// be.
#[must_use]
pub fn repair(image: &MetadataImage, settings: &Settings, topic: &Topic, partition: &Partition) -> Option<Partition> {
    let dead = |node: NodeId| image.live_broker(node).is_none();
    let stale_isr = partition.isr.len() > 1 && partition.isr.iter().any(|node| dead(*node));
    let voters = Voters::new(image, settings, topic, partition);
    let led = partition.leader.is_some_and(|leader| !dead(leader));
    let mut repaired = partition.clone();
    if led {
        voters.forget_stale_elr(&mut repaired);
    }
    if led && !stale_isr {
        return (repaired != *partition).then_some(repaired);
    }
    for node in partition.replicas.iter().copied().filter(|node| dead(*node)) {
        voters.fence(&mut repaired, node);
    }
    if repaired.leader.is_none() {
        voters.elect(&mut repaired, &LogEnds::new());
    }
    (repaired != *partition).then_some(repaired)
}

/// True if this election put somebody in charge who may lack acknowledged records.
#[must_use]
pub fn is_unclean(before: &Partition, after: &Partition) -> bool {
    after
        .leader
        .is_some_and(|leader| !before.isr.contains(&leader) && !before.elr.contains(&leader))
}

/// Moves leadership, or takes it away, under a new leader epoch.
pub fn set_leader(partition: &mut Partition, leader: Option<NodeId>) {
    if leader.is_none() && partition.leader.is_some() {
        partition.last_known_leader = partition.leader;
    }
    partition.leader = leader;
    partition.leader_epoch = next_epoch(partition.leader_epoch);
}

fn next_epoch(epoch: LeaderEpoch) -> LeaderEpoch {
    LeaderEpoch(epoch.get().saturating_add(1))
}

fn in_replica_order(partition: &Partition, members: &[NodeId]) -> Vec<NodeId> {
    partition
        .replicas
        .iter()
        .copied()
        .filter(|node| members.contains(node))
        .collect()
}
