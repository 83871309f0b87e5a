//! What differs between two images. Effects come from comparing the old image with the new one, never from the
//! updates in between (design section 3). Shared parts are skipped by pointer, so the cost follows what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::metadata::{ConfigResource, MetadataImage, Node, Partition, ShardAssignment, Topic};
use crate::types::{NodeId, PartitionIndex, ShardId};

/// One thing before and after; one of the two is there, and they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a, K, V> {
    /// Which thing.
    pub key: K,
    /// In the old image; `None` = created.
    pub old: Option<&'a V>,
    /// In the new image; `None` = deleted.
    pub new: Option<&'a V>,
}

/// One partition before and after. A topic that was deleted and created again under its name is two topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDiff<'a> {
    /// The topic as in the new image, or as it was if it is gone.
    pub topic: &'a Arc<Topic>,
    /// The partition.
    pub index: PartitionIndex,
    /// In the old image; `None` = created.
    pub old: Option<&'a Arc<Partition>>,
    /// In the new image; `None` = deleted.
    pub new: Option<&'a Arc<Partition>>,
}

/// All differences between two images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDiff<'a> {
    /// Topics that are new.
    pub topics_created: Vec<&'a Arc<Topic>>,
    /// Topics that are gone.
    pub topics_deleted: Vec<&'a Arc<Topic>>,
    /// Topics whose partition count, configs or partitions changed: old and new.
    pub topics_changed: Vec<(&'a Arc<Topic>, &'a Arc<Topic>)>,
    /// Partitions that are new, gone or changed, those of created and deleted topics included.
    pub partitions: Vec<PartitionDiff<'a>>,
    /// Nodes.
    pub nodes: Vec<Difference<'a, NodeId, Arc<Node>>>,
    /// Shard assignments.
    pub shards: Vec<Difference<'a, ShardId, ShardAssignment>>,
    /// Dynamic configs.
    pub configs: Vec<Difference<'a, &'a ConfigResource, Arc<BTreeMap<String, String>>>>,
}

/// Compares two images.
#[must_use]
pub fn diff<'a>(old: &'a MetadataImage, new: &'a MetadataImage) -> ImageDiff<'a> {
    let mut out = ImageDiff::default();
    for item in old.topics_by_id.diff(&new.topics_by_id) {
        let (before, after) = sides(&item);
        let topics = (before.map(|(_, topic)| topic), after.map(|(_, topic)| topic));
        match topics {
            (Some(old_topic), Some(new_topic)) => out.topics_changed.push((old_topic, new_topic)),
            (Some(old_topic), None) => out.topics_deleted.push(old_topic),
            (None, Some(new_topic)) => out.topics_created.push(new_topic),
            (None, None) => {}
        }
        partitions(topics.0, topics.1, &mut out.partitions);
    }
    for item in old.nodes.diff(&new.nodes) {
        let (before, after) = sides(&item);
        if let Some((key, _)) = after.or(before) {
            out.nodes.push(Difference {
                key: *key,
                old: before.map(|b| b.1),
                new: after.map(|a| a.1),
            });
        }
    }
    for item in old.shards.diff(&new.shards) {
        let (before, after) = sides(&item);
        if let Some((key, _)) = after.or(before) {
            out.shards.push(Difference {
                key: *key,
                old: before.map(|b| b.1),
                new: after.map(|a| a.1),
            });
        }
    }
    for item in old.configs.diff(&new.configs) {
        let (before, after) = sides(&item);
        if let Some((key, _)) = after.or(before) {
            out.configs.push(Difference {
                key,
                old: before.map(|b| b.1),
                new: after.map(|a| a.1),
            });
        }
    }
    out
}

type Side<'a, K, V> = Option<(&'a K, &'a V)>;

fn sides<'a, K, V>(item: &DiffItem<'a, 'a, K, V>) -> (Side<'a, K, V>, Side<'a, K, V>) {
    match *item {
        DiffItem::Add(key, value) => (None, Some((key, value))),
        DiffItem::Remove(key, value) => (Some((key, value)), None),
        DiffItem::Update { old, new } => (Some(old), Some(new)),
    }
}

fn partitions<'a>(old: Option<&'a Arc<Topic>>, new: Option<&'a Arc<Topic>>, out: &mut Vec<PartitionDiff<'a>>) {
    let Some(topic) = new.or(old) else { return };
    let count = |side: Option<&'a Arc<Topic>>| side.map_or(0, |topic| topic.partitions.len());
    for position in 0..count(old).max(count(new)) {
        let before = old.and_then(|topic| topic.partitions.get(position));
        let after = new.and_then(|topic| topic.partitions.get(position));
        let same = match (before, after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before == after,
            _ => false,
        };
        if !same {
            out.push(PartitionDiff {
                topic,
                index: PartitionIndex(position as i32),
                old: before,
                new: after,
            });
        }
    }
}
