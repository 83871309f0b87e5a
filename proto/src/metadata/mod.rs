//! The metadata image: the in-memory view of the cluster at one revision, and the changes that lead from one
//! revision to the next (design section 3). Pure: no clock, no IO.

mod apply;
mod change;
pub mod convert;
mod diff;
mod image;
mod reassignment;
mod snapshot;

pub use change::{Change, MetadataUpdate};
pub use diff::{Difference, ImageDiff, PartitionDiff, diff};
pub use image::{
    ClusterInfo, ConfigResource, DiskPressure, Endpoint, MetadataImage, Node, NodeDisk, NodeDuty, NodeRegistration,
    NodeRole, NodeState, Partition, Rebalance, ShardAssignment, Topic,
};
pub use snapshot::{MetadataSnapshot, SnapshotEntry, SnapshotRefused};

#[cfg(test)]
mod tests;
