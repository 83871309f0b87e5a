//! Steps: lists of changes that are committed in one transaction each.

use std::collections::BTreeSet;
use std::mem;

use highwater_proto::metadata::{Change, ConfigResource};
use highwater_proto::types::{NodeId, PartitionIndex, ShardId, TopicId};

/// Guarded puts and deletes that fit into one transaction: etcd takes 128 compares, one is the leadership guard.
pub const MAX_PUTS_PER_STEP: usize = 127;

/// Changes that are committed together or not at all.
pub type Step = Vec<Change>;

/// Collects changes in the order in which they may happen and cuts them into steps. Every prefix of the changes must
/// be harmless; what must not be torn apart goes in as a group.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<Step>,
    open: Step,
    puts: usize,
    keys: BTreeSet<Key>,
}

/// The key that a change writes; a transaction may write each only once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Cluster,
    Registration(NodeId),
    State(NodeId),
    Duty(NodeId),
    Disk(NodeId),
    Topic(String),
    Partition(TopicId, PartitionIndex),
    Shard(ShardId),
    Config(ConfigResource),
    ProducerIds,
    Rebalance,
}

fn keys(change: &Change) -> Vec<Key> {
    match change {
        Change::PutCluster(_) => vec![Key::Cluster],
        Change::PutNodeRegistration(id, _) => vec![Key::Registration(*id)],
        Change::PutNodeState(id, _) => vec![Key::State(*id)],
        Change::PutNodeDuty(id, _) => vec![Key::Duty(*id)],
        Change::PutNodeDisk(id, _) => vec![Key::Disk(*id)],
        Change::DeleteNode(id) => vec![Key::Registration(*id), Key::State(*id), Key::Duty(*id), Key::Disk(*id)],
        Change::PutTopic { name, .. } | Change::DeleteTopic { name, .. } => vec![Key::Topic(name.clone())],
        Change::PutPartition(topic, index, _) | Change::DeletePartition(topic, index) => {
            vec![Key::Partition(*topic, *index)]
        }
        Change::PutShard(id, _) | Change::DeleteShard(id) => vec![Key::Shard(*id)],
        Change::PutConfig(resource, _) | Change::DeleteConfig(resource) => vec![Key::Config(resource.clone())],
        Change::PutRebalance(_) => vec![Key::Rebalance],
        Change::PutProducerIds(_) => vec![Key::ProducerIds],
    }
}

impl Steps {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a change.
    pub fn push(&mut self, change: Change) {
        self.push_group(vec![change]);
    }

    /// Appends changes that belong into one transaction. A group that is larger than a step is cut all the same:
    /// callers keep groups small.
    pub fn push_group(&mut self, group: Vec<Change>) {
        let group_keys: Vec<Key> = group.iter().flat_map(keys).collect();
        let conflict = group_keys.iter().any(|key| self.keys.contains(key));
        if conflict || (!self.open.is_empty() && self.puts + group_keys.len() > MAX_PUTS_PER_STEP) {
            self.cut();
        }
        for change in group {
            let written = keys(&change);
            if self.puts + written.len() > MAX_PUTS_PER_STEP {
                self.cut();
            }
            self.puts += written.len();
            self.keys.extend(written);
            self.open.push(change);
        }
    }

    /// What follows is committed only after all that came before.
    pub fn cut(&mut self) {
        if !self.open.is_empty() {
            self.done.push(mem::take(&mut self.open));
        }
        self.puts = 0;
        self.keys.clear();
    }

    /// True if nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.open.is_empty()
    }

    /// The steps, in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Step> {
        self.cut();
        self.done
    }
}
