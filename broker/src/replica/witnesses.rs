//! Who knows whether a leader has been replaced (decision 0009).

use highwater_proto::types::NodeId;
use smallvec::SmallVec;

use super::{AckError, Replica, Role};

impl<A> Replica<A> {
    /// The replicas one of which knows if a later leader serves: the maximal ISR without this one. When none of them
    /// knows a later epoch, there was no later leader when the first of them was asked: it would have been elected from
    /// among them. Empty when this replica is the whole ISR.
    ///
    /// # Errors
    /// [`AckError::NotLeader`]. [`AckError::NotEnoughReplicas`] while the committed ISR is below min ISR: then a later
    /// leader may come from those that left it as well (eligible leader replicas).
    pub fn witnesses(&self) -> Result<SmallVec<[NodeId; 4]>, AckError> {
        let Role::Leader(leader) = &self.role else {
            return Err(AckError::NotLeader);
        };
        if leader.isr.committed_len() < self.effective_min_isr() {
            return Err(AckError::NotEnoughReplicas);
        }
        let proposed = leader.isr.pending().into_iter().flat_map(|pending| &pending.isr);
        let mut witnesses: SmallVec<[NodeId; 4]> = SmallVec::new();
        for member in leader
            .isr
            .committed_members()
            .iter()
            .copied()
            .chain(proposed.map(|it| it.broker))
        {
            if member != self.node && !witnesses.contains(&member) {
                witnesses.push(member);
            }
        }
        Ok(witnesses)
    }
}
