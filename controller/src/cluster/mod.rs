//! The controller's decisions (design section 4): pure functions of the metadata image and a command to changes and a
//! reply. No IO, no clock, no randomness: what is random (ids) or measured (time) comes in with the command.
//!
//! One file per command. [`decide`] is the only way in for commands, [`reconcile`] derives what the image itself
//! demands. Both answer with *steps*: each step is one transaction of the store and harmless when it is the last one
//! that happens.

mod allocate_producer_ids;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_partitions;
mod alter_replication;
mod bootstrap;
pub mod complete_reassignments;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod elect_leaders;
pub mod elect_unclean;
pub mod election;
mod fence_node;
mod forget_node;
mod leave_node;
mod manual_assignment;
pub mod move_leaders;
pub mod move_replicas;
mod move_shards;
pub mod overview;
pub mod owned_topic;
mod placement;
pub mod planner;
pub mod preferred_leaders;
mod reassignment;
mod reconcile;
mod refusal;
pub mod register_node;
mod relieve_node;
pub mod replica_sizes;
mod report_disk;
mod report_offline_replicas;
mod restart_check;
pub mod sessions;
mod set_node_duty;
mod settings;
pub mod shards;
pub mod stalls;
mod step;
mod topic_name;
mod unfence_node;
mod unregister_node;
mod want_rebalance;

#[cfg(test)]
mod tests;

use highwater_proto::metadata::MetadataImage;

pub use allocate_producer_ids::{AllocateProducerIds, PRODUCER_ID_BLOCK, ProducerIdBlock};
pub use alter_configs::{AlterConfigs, AlteredResource, ResourceAlteration, ResourceType};
pub use alter_partition_reassignments::{AlterPartitionReassignments, PartitionReassignment, ReassignedPartition};
pub use alter_partitions::{AlterPartitions, AlteredPartition, IsrMember, IsrProposal};
pub use alter_replication::AlterReplication;
pub use bootstrap::{Bootstrap, FORMAT_VERSION};
pub use complete_reassignments::CompleteReassignments;
pub use create_partitions::{CreatePartitions, GrownTopic, TopicGrowth};
pub use create_topics::{CreatableTopic, CreateTopics, CreatedTopic, MAX_PARTITIONS_PER_REQUEST, TopicShape};
pub use delete_topics::{DeleteTopics, DeletedTopic, TopicTarget};
pub use elect_leaders::{ElectLeaders, ElectedLeader, ElectionType};
pub use elect_unclean::ElectUnclean;
pub use fence_node::FenceNode;
pub use forget_node::ForgetNode;
pub use leave_node::{LeaveNode, Leaving};
pub use manual_assignment::ManualAssignment;
pub use move_leaders::{LeaderMove, MoveLeaders};
pub use move_replicas::{CopyLimits, MoveReplicas};
pub use move_shards::MoveShards;
pub use owned_topic::OwnedTopic;
pub use reconcile::reconcile;
pub use refusal::Refusal;
pub use register_node::{RegisterNode, Registered, RegistrationRefused};
pub use relieve_node::RelieveNode;
pub use report_disk::ReportDisk;
pub use report_offline_replicas::ReportOfflineReplicas;
pub use restart_check::RestartCheck;
pub use set_node_duty::{DutyChange, SetNodeDuty};
pub use settings::Settings;
pub use step::{MAX_PUTS_PER_STEP, Step, Steps};
pub use topic_name::validate_topic_name;
pub use unfence_node::{DistrustedReplicas, UnfenceNode};
pub use unregister_node::{UnregisterNode, Unregistered};
pub use want_rebalance::WantRebalance;

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<R> {
    /// Transactions, to be committed one after the other; none if nothing changes.
    pub steps: Vec<Step>,
    /// The answer, once the last step is committed.
    pub reply: R,
}

impl<R> Decision<R> {
    /// An answer without a change.
    pub fn unchanged(reply: R) -> Self {
        Self {
            steps: Vec::new(),
            reply,
        }
    }
}

/// Something that is asked of the controller.
pub trait Command {
    /// The answer; refusals are answers too.
    type Reply;

    /// Decides on the image as it is.
    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply>;
}

/// Decides on a command.
pub fn decide<C: Command>(image: &MetadataImage, command: &C, settings: &Settings) -> Decision<C::Reply> {
    command.decide(image, settings)
}
