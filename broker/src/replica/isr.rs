//! The committed ISR and the one proposal that may be under way.
//!
//! The *maximal* ISR is the committed one plus what a proposal adds: a follower counts for the high watermark from the
//! moment its join is proposed until a definite answer says that it did not join. A proposed departure counts only
//! once it is committed.

use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};
use smallvec::SmallVec;

/// A member of a proposed ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsrMember {
    /// The replica's broker.
    pub broker: NodeId,
    /// The registration that the leader saw it fetch with; -1 for the leader itself, which the caller fills in.
    pub epoch: BrokerEpoch,
}

/// An ISR change for the controller (`AlterPartitions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The proposing leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch it builds on.
    pub base: PartitionEpoch,
    /// The whole ISR it asks for.
    pub isr: Vec<IsrMember>,
}

/// A definite answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrAnswer {
    /// Done: the partition's ISR and epoch.
    Committed {
        /// Epoch of the partition after the change.
        epoch: PartitionEpoch,
        /// Its in-sync replicas.
        isr: Vec<NodeId>,
    },
    /// Nothing was changed and nothing will be: back to the committed ISR (rule 28: 107 and 55).
    Refused,
    /// What the proposal builds on is outdated: wait for a newer image (rule 28: 3, 42, 74, 95, 100, 108).
    Outdated,
}

#[derive(Debug)]
pub(super) struct Isr {
    epoch: PartitionEpoch,
    committed: SmallVec<[NodeId; 4]>,
    pending: Option<IsrProposal>,
}

impl Isr {
    pub(super) fn new(epoch: PartitionEpoch, committed: &[NodeId]) -> Self {
        Self {
            epoch,
            committed: SmallVec::from_slice(committed),
            pending: None,
        }
    }

    /// The image's view; a higher epoch than the proposal's base ends the proposal.
    pub(super) fn committed(&mut self, epoch: PartitionEpoch, isr: &[NodeId]) {
        if epoch < self.epoch {
            return;
        }
        if epoch > self.epoch {
            self.pending = None;
        }
        self.epoch = epoch;
        self.committed = SmallVec::from_slice(isr);
    }

    pub(super) fn propose(&mut self, leader_epoch: LeaderEpoch, isr: Vec<IsrMember>) -> Option<IsrProposal> {
        if self.pending.is_some() {
            return None;
        }
        let proposal = IsrProposal {
            leader_epoch,
            base: self.epoch,
            isr,
        };
        self.pending = Some(proposal.clone());
        Some(proposal)
    }

    pub(super) fn answered(&mut self, base: PartitionEpoch, answer: IsrAnswer) {
        if self.pending.as_ref().is_none_or(|pending| pending.base != base) {
            return;
        }
        match answer {
            IsrAnswer::Committed { epoch, isr } => {
                self.pending = None;
                self.committed(epoch, &isr);
            }
            IsrAnswer::Refused => self.pending = None,
            IsrAnswer::Outdated => {}
        }
    }

    pub(super) fn pending(&self) -> Option<&IsrProposal> {
        self.pending.as_ref()
    }

    pub(super) fn committed_members(&self) -> &[NodeId] {
        &self.committed
    }

    pub(super) fn committed_len(&self) -> usize {
        self.committed.len()
    }

    pub(super) fn is_committed_member(&self, node: NodeId) -> bool {
        self.committed.contains(&node)
    }

    pub(super) fn is_maximal_member(&self, node: NodeId) -> bool {
        self.is_committed_member(node)
            || self
                .pending
                .as_ref()
                .is_some_and(|pending| pending.isr.iter().any(|it| it.broker == node))
    }

    /// Size of the maximal ISR; the leader is always a member of it.
    pub(super) fn maximal_len(&self, leader: NodeId) -> usize {
        let added = self.pending.iter().flat_map(|pending| &pending.isr);
        let added = added
            .filter(|it| it.broker != leader && !self.is_committed_member(it.broker))
            .count();
        self.committed.len() + added
    }
}
