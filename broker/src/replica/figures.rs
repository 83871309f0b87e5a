//! What others want to know of a replica: metrics, readers, and who deletes records.

use highwater_proto::types::{NodeId, Offset};

use super::follower::Follower;
use super::{Replica, Role};

impl<A> Replica<A> {
    /// The follower that a reader at `offset` should turn to: of the in-sync ones that `candidates` accepts and that have
    /// that offset, the one that has most (KIP-392). `None` on a follower.
    #[must_use]
    pub fn preferred_read_replica(&self, offset: Offset, candidates: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let followers = leader.followers.iter().filter(|follower| {
            leader.isr.is_committed_member(follower.node) && follower.holds(offset) && candidates(follower.node)
        });
        let best = followers.max_by_key(|follower| (follower.flushed_end(), std::cmp::Reverse(follower.node)));
        best.map(|follower| follower.node)
    }

    /// The least log start of all live replicas: records below it are deleted everywhere. `None` on a follower.
    #[must_use]
    pub fn low_watermark(&self) -> Option<Offset> {
        let Role::Leader(leader) = &self.role else { return None };
        let followers = leader.followers.iter().filter_map(Follower::live_log_start);
        Some(followers.fold(self.log.start, Offset::min))
    }

    /// Replicas that the partition is assigned to.
    #[must_use]
    pub fn replica_count(&self) -> usize {
        self.replica_count
    }

    /// True when this leader's ISR lacks replicas.
    #[must_use]
    pub fn is_under_replicated(&self) -> bool {
        self.is_leader() && self.isr().len() < self.replica_count
    }

    /// True when this leader's ISR is below the effective `min.insync.replicas`.
    #[must_use]
    pub fn is_under_min_isr(&self) -> bool {
        self.is_leader() && self.isr().len() < self.effective_min_isr()
    }

    /// True when one more lost member would put this leader's ISR below the effective `min.insync.replicas`, and some
    /// are lost already.
    #[must_use]
    pub fn is_at_min_isr(&self) -> bool {
        self.is_under_replicated() && self.isr().len() == self.effective_min_isr()
    }
}
