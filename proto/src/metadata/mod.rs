//! The metadata image: the in-memory view of the cluster at one revision, and the changes that lead from one
//! revision to the next (design section 3). Pure: no clock, no IO.

mod image;
mod change;

pub use change::{Change, MetadataUpdate};
pub use image::{
    ClusterInfo, ConfigResource, Endpoint, MetadataImage, Node, NodeRegistration, NodeRole, NodeState, Partition,
    ShardAssignment, Topic,
};
