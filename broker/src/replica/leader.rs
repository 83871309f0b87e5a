//! What a replica knows while it leads.

use std::time::Duration;

use highwater_proto::metadata;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};
use smallvec::SmallVec;

use super::follower::Follower;
use super::isr::{Isr, IsrMember, IsrProposal};
use super::waiting::WaitingAcks;
use super::{AckError, BrokerView};

#[derive(Debug)]
pub(super) struct Leader<A> {
    /// Log end when leadership began: nothing below it was appended in this epoch.
    pub(super) epoch_start: Offset,
    pub(super) followers: Vec<Follower>,
    pub(super) isr: Isr,
    pub(super) waiting: WaitingAcks<A>,
}

impl<A> Leader<A> {
    /// The result of acknowledgements that the high watermark reached (rule 21).
    pub(super) fn reached(&self, node: NodeId, min: usize) -> Result<(), AckError> {
        if self.isr.maximal_len(node) < min {
            Err(AckError::NotEnoughReplicas)
        } else {
            Ok(())
        }
    }

    /// Replicas may come and go, and brokers register again, within one leader epoch.
    pub(super) fn refresh_followers(
        &mut self,
        node: NodeId,
        partition: &metadata::Partition,
        brokers: impl Fn(NodeId) -> Option<BrokerView>,
        now: Duration,
    ) {
        self.followers
            .retain(|follower| partition.replicas.contains(&follower.node));
        for replica in partition.replicas.iter().filter(|replica| **replica != node) {
            if !self.followers.iter().any(|follower| follower.node == *replica) {
                self.followers.push(Follower::new(*replica, false, now));
            }
        }
        for follower in &mut self.followers {
            follower.registered(brokers(follower.node));
            follower.is_offline(partition.offline_replicas.contains(&follower.node));
        }
    }

    pub(super) fn propose_join(
        &mut self,
        node: NodeId,
        leader_epoch: LeaderEpoch,
        joiner: IsrMember,
    ) -> Option<IsrProposal> {
        if self.isr.is_committed_member(joiner.broker) {
            return None;
        }
        let mut members = self.members(node, |_| true);
        members.push(joiner);
        self.isr.propose(leader_epoch, members)
    }

    /// All followers that may join.
    pub(super) fn propose_joins(
        &mut self,
        node: NodeId,
        leader_epoch: LeaderEpoch,
        needed: Offset,
    ) -> Option<IsrProposal> {
        let joins = |follower: &&Follower| follower.may_join(needed) && !self.isr.is_committed_member(follower.node);
        let joiners: SmallVec<[IsrMember; 4]> = self
            .followers
            .iter()
            .filter(joins)
            .map(|follower| IsrMember {
                broker: follower.node,
                epoch: follower.epoch(),
            })
            .collect();
        if joiners.is_empty() {
            return None;
        }
        let mut members = self.members(node, |_| true);
        members.extend(joiners);
        self.isr.propose(leader_epoch, members)
    }

    pub(super) fn propose_leave(
        &mut self,
        node: NodeId,
        leader_epoch: LeaderEpoch,
        log_end: Offset,
        now: Duration,
        max_lag: Duration,
    ) -> Option<IsrProposal> {
        let in_sync = |follower: &Follower| !follower.lags(log_end, now, max_lag);
        if self
            .followers
            .iter()
            .filter(|it| self.isr.is_committed_member(it.node))
            .all(in_sync)
        {
            return None;
        }
        let members = self.members(node, in_sync);
        self.isr.propose(leader_epoch, members)
    }

    /// A member that asks from below the high watermark has lost what it had acknowledged: it must not be elected, and
    /// nothing waits for it.
    pub(super) fn propose_removal(
        &mut self,
        node: NodeId,
        leader_epoch: LeaderEpoch,
        lost: NodeId,
    ) -> Option<IsrProposal> {
        let members = self.members(node, |follower| follower.node != lost);
        self.isr.propose(leader_epoch, members)
    }

    /// The committed ISR as a proposal names it, with those followers that `keep` accepts.
    fn members(&self, node: NodeId, keep: impl Fn(&Follower) -> bool) -> Vec<IsrMember> {
        self.isr
            .committed_members()
            .iter()
            .filter_map(|member| {
                if *member == node {
                    return Some(IsrMember {
                        broker: node,
                        epoch: BrokerEpoch(-1),
                    });
                }
                let follower = self.followers.iter().find(|follower| follower.node == *member)?;
                keep(follower).then(|| IsrMember {
                    broker: *member,
                    epoch: follower.epoch(),
                })
            })
            .collect()
    }
}
