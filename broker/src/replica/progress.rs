//! How far a follower is that may lead next.

use highwater_proto::types::{NodeId, Offset};

use super::follower::Follower;
use super::{Replica, Role};

impl<A> Replica<A> {
    /// The flushed end of an in-sync follower; `None` when it is not one, or when this replica does not lead.
    #[must_use]
    pub fn progress_of(&self, node: NodeId) -> Option<Offset> {
        let Role::Leader(leader) = &self.role else { return None };
        let mut followers = leader.followers.iter();
        let follower = followers.find(|follower| follower.node == node && leader.isr.is_committed_member(node))?;
        Some(Follower::flushed_end(follower))
    }
}
