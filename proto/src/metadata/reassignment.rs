//! A reassignment in progress, as the replica lists of a partition tell it: `replicas` holds the target first, then what
//! leaves; `adding` and `removing` say which is which.

use crate::metadata::Partition;
use crate::types::NodeId;

impl Partition {
    /// True while replicas join or leave.
    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas that the partition will have, preferred leader first.
    pub fn target_replicas(&self) -> impl Iterator<Item = NodeId> {
        let replicas = self.replicas.iter().copied();
        replicas.filter(|node| !self.removing.contains(node))
    }

    /// The replicas that the partition had before, and has again if the reassignment is cancelled.
    pub fn original_replicas(&self) -> impl Iterator<Item = NodeId> {
        let replicas = self.replicas.iter().copied();
        replicas.filter(|node| !self.adding.contains(node))
    }

    /// The replication factor, the most in-sync replicas that acks=all may ask for. Replicas that are on their
    /// way do not count yet: moving the only replica of a partition does not stop its producers.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.original_replicas().count().max(1)
    }
}
