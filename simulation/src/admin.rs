//! What administrators and the balancer want: replicas on other brokers, another leader.

use highwater_controller::cluster::{
    AlterPartitionReassignments, CompleteReassignments, PartitionReassignment, complete_reassignments,
};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::broker::node_id;
use crate::controller::{Job, settings};
use crate::world::World;

impl World {
    pub(crate) fn any_partition(&mut self) -> Option<TopicPartition> {
        let keys: Vec<TopicPartition> = self.history.partitions.keys().copied().collect();
        self.random.pick(&keys)
    }

    /// A partition shall live elsewhere, or stay where it is after all.
    pub(crate) fn reassign(&mut self) -> bool {
        let image = self.store.image();
        let Some(key) = self.any_partition() else { return false };
        let (Some(topic), Some(partition)) = (
            image.topic_by_id(key.topic_id),
            image.partition(key.topic_id, key.partition),
        ) else {
            return false;
        };
        let stays = partition.is_reassigning() && self.random.one_in(3);
        let count = partition.original_replicas().count();
        let target = (!stays).then(|| self.any_brokers(count));
        let command = AlterPartitionReassignments {
            partitions: vec![PartitionReassignment {
                topic: topic.name.to_string(),
                partition: key.partition,
                target,
            }],
            allow_replication_factor_change: false,
        };
        self.ask(Job::Reassign(command));
        true
    }

    fn any_brokers(&mut self, count: usize) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = (0..self.brokers.len()).map(node_id).collect();
        let mut chosen = Vec::new();
        while chosen.len() < count && !all.is_empty() {
            chosen.push(all.swap_remove(self.random.below(all.len())));
        }
        chosen
    }

    /// Another member of the ISR shall lead.
    pub(crate) fn move_leader(&mut self) -> bool {
        let image = self.store.image();
        let Some(key) = self.any_partition() else { return false };
        let Some(partition) = image.partition(key.topic_id, key.partition) else {
            return false;
        };
        let Some(target) = self.random.pick(&partition.isr) else {
            return false;
        };
        self.move_leadership(key, partition.leader_epoch, target);
        true
    }

    /// Reassignments that only wait for their leader's going end: it has handed over, or did not in time.
    pub(crate) fn complete_reassignments(&mut self) -> bool {
        let awaited = complete_reassignments::awaited(&Default::default(), &self.store.image(), &settings());
        if awaited.is_empty() {
            return false;
        }
        let partitions = awaited.into_iter().map(|wanted| wanted.key).collect();
        self.ask(Job::Complete(CompleteReassignments { partitions }));
        true
    }
}
