//! What one change does to the image. The image is the same whatever the order in which the keys of one revision,
//! or of a snapshot, arrive; but a node's state, duty and disk need its registration, which a snapshot applies first.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::{Change, MetadataImage, Node, Partition, Topic};
use crate::types::{BrokerEpoch, PartitionEpoch, PartitionIndex, Revision, TopicId};

impl MetadataImage {
    /// Applies one key put or deleted at `revision`.
    #[expect(clippy::too_many_lines, reason = "one arm per kind of change")]
    pub(super) fn apply_change(&mut self, revision: Revision, change: &Change) {
        match change {
            Change::PutCluster(info) => self.cluster = info.clone(),
            Change::PutNodeRegistration(id, registration) => {
                let known = self.nodes.get(id);
                let (state, duty, disk) =
                    known.map_or_else(Default::default, |node| (node.state, node.duty, node.disk));
                let epoch = BrokerEpoch(revision.get());
                let node = Node {
                    id: *id,
                    epoch,
                    registration: registration.clone(),
                    state,
                    duty,
                    disk,
                };
                self.nodes.insert(*id, Arc::new(node));
            }
            Change::PutNodeState(id, state) => {
                if let Some(node) = self.nodes.get_mut(id) {
                    let node = Arc::make_mut(node);
                    node.state = *state;
                    if node.is_live() {
                        node.state = Node::live_state(node.duty);
                    }
                }
            }
            Change::PutNodeDisk(id, disk) => {
                if let Some(node) = self.nodes.get_mut(id) {
                    Arc::make_mut(node).disk = *disk;
                }
            }
            Change::PutNodeDuty(id, duty) => {
                if let Some(node) = self.nodes.get_mut(id) {
                    let node = Arc::make_mut(node);
                    node.duty = *duty;
                    if node.is_live() {
                        node.state = Node::live_state(node.duty);
                    }
                }
            }
            Change::DeleteNode(id) => {
                self.nodes.remove(id);
            }
            Change::PutTopic {
                name,
                topic_id,
                partition_count,
                configs,
                owner,
            } => {
                self.put_topic(name, *topic_id, *partition_count, configs, owner.as_ref());
            }
            Change::DeleteTopic { name, topic_id } => {
                if self.topic_ids.get(name.as_str()) == Some(topic_id) {
                    self.remove_topic(*topic_id);
                }
            }
            Change::PutPartition(topic, index, partition) => {
                let epoch = PartitionEpoch(revision.get());
                self.put_partition(
                    *topic,
                    *index,
                    Arc::new(Partition {
                        epoch,
                        ..partition.clone()
                    }),
                );
            }
            Change::DeletePartition(topic, index) => self.delete_partition(*topic, *index),
            Change::PutShard(id, assignment) => {
                self.shards.insert(*id, *assignment);
            }
            Change::DeleteShard(id) => {
                self.shards.remove(id);
            }
            Change::PutConfig(resource, values) => {
                self.configs.insert(resource.clone(), Arc::new(values.clone()));
            }
            Change::DeleteConfig(resource) => {
                self.configs.remove(resource);
            }
            Change::PutRebalance(wanted) => self.rebalance = wanted.clone(),
            Change::PutProducerIds(next) => self.next_producer_id = *next,
        }
    }

    fn put_topic(
        &mut self,
        name: &str,
        id: TopicId,
        count: i32,
        configs: &BTreeMap<String, String>,
        owner: Option<&String>,
    ) {
        if let Some(other) = self.topic_ids.get(name).copied().filter(|other| *other != id) {
            self.remove_topic(other);
        }
        let old_name = self.topics_by_id.get(&id).map(|topic| Arc::clone(&topic.name));
        match old_name {
            Some(old_name) => {
                if *old_name != *name {
                    self.topic_ids.remove(&old_name);
                }
                self.shrink(id, count);
                if let Some(topic) = self.topics_by_id.get_mut(&id) {
                    let topic = Arc::make_mut(topic);
                    if *topic.configs != *configs {
                        topic.configs = Arc::new(configs.clone());
                    }
                    topic.owner = owner.cloned();
                    if *old_name != *name {
                        topic.name = Arc::from(name);
                    }
                }
            }
            None => {
                let name = Arc::from(name);
                let topic = Topic {
                    name,
                    id,
                    configs: Arc::new(configs.clone()),
                    owner: owner.cloned(),
                    partitions: Vec::new(),
                };
                self.topics_by_id.insert(id, Arc::new(topic));
            }
        }
        if let Some(topic) = self.topics_by_id.get(&id) {
            self.topic_ids.insert(Arc::clone(&topic.name), id);
        }
        self.incomplete.insert(id, count.max(0));
        self.settle(id);
    }

    /// Partitions at or above `count` exist for nobody from here on.
    fn shrink(&mut self, id: TopicId, count: i32) {
        let count = usize::try_from(count).unwrap_or(0);
        let Some(topic) = self
            .topics_by_id
            .get_mut(&id)
            .filter(|topic| topic.partitions.len() > count)
        else {
            return;
        };
        let hidden = Arc::make_mut(topic).partitions.split_off(count);
        for (index, partition) in (count..).zip(hidden) {
            self.orphans.insert((id, PartitionIndex(index as i32)), partition);
        }
    }

    /// Shows the partitions of a topic whose keys have arrived, in order of their index, up to the declared count.
    fn settle(&mut self, id: TopicId) {
        let Some(declared) = self
            .incomplete
            .get(&id)
            .map(|count| usize::try_from(*count).unwrap_or(0))
        else {
            return;
        };
        let Some(topic) = self.topics_by_id.get_mut(&id) else {
            return;
        };
        let mut visible = topic.partitions.len();
        if visible < declared && self.orphans.contains_key(&(id, PartitionIndex(visible as i32))) {
            let partitions = &mut Arc::make_mut(topic).partitions;
            while visible < declared
                && let Some(partition) = self.orphans.remove(&(id, PartitionIndex(visible as i32)))
            {
                partitions.push(partition);
                visible += 1;
            }
        }
        if visible == declared {
            self.incomplete.remove(&id);
        }
    }

    fn remove_topic(&mut self, id: TopicId) {
        self.shrink(id, 0);
        self.incomplete.remove(&id);
        if let Some(topic) = self.topics_by_id.remove(&id) {
            self.topic_ids.remove(&topic.name);
        }
    }

    fn put_partition(&mut self, id: TopicId, index: PartitionIndex, partition: Arc<Partition>) {
        if let (Ok(position), Some(topic)) = (usize::try_from(index.get()), self.topics_by_id.get_mut(&id))
            && position < topic.partitions.len()
        {
            Arc::make_mut(topic).partitions[position] = partition;
            return;
        }
        self.orphans.insert((id, index), partition);
        self.settle(id);
    }

    fn delete_partition(&mut self, id: TopicId, index: PartitionIndex) {
        if self.orphans.remove(&(id, index)).is_some() {
            return;
        }
        let visible = self.topics_by_id.get(&id).map_or(0, |topic| topic.partitions.len());
        if !usize::try_from(index.get()).is_ok_and(|position| position < visible) {
            return;
        }
        // A key below the count of its topic is gone: whoever deleted it broke the rules. The partitions behind it
        // stay kept and come back with it, so that nothing is lost and no index shifts.
        let declared = self.declared_partition_count(id).unwrap_or(0);
        self.shrink(id, index.get());
        self.orphans.remove(&(id, index));
        self.incomplete.insert(id, declared);
    }
}
