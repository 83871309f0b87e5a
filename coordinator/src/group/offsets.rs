//! Committed offsets of all groups of a shard, those of open transactions apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use highwater_proto::types::{Offset, ProducerId, TimestampMs, TopicId};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to consume.
    pub offset: i64,
    /// Leader epoch of the last record consumed; -1 if unknown.
    pub leader_epoch: i32,
    /// Text that goes with it.
    pub metadata: Box<str>,
    /// When it was committed.
    pub commit_timestamp: TimestampMs,
    /// When it expires, if the commit said so itself.
    pub expire_timestamp: Option<TimestampMs>,
    /// Identity of the topic; zero in records that do not carry it.
    pub topic_id: TopicId,
    /// Offset of its record in `__consumer_offsets`: of a plain and a transactional commit the later one counts.
    pub record_offset: Offset,
}

type Partitions = BTreeMap<i32, CommittedOffset>;
type Topics = BTreeMap<Arc<str>, Partitions>;

/// The offsets.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_group: HashMap<Arc<str>, Topics>,
    /// Offsets of open transactions, by producer and group.
    pending: BTreeMap<ProducerId, BTreeMap<Arc<str>, Topics>>,
    /// How many offsets carry a topic id, so that deleted topics are found without looking at every offset.
    topic_ids: HashMap<TopicId, usize>,
}

impl Offsets {
    pub(super) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.by_group.get(group)?.get(topic)?.get(&partition)
    }

    /// All offsets of a group, by topic.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = (&Arc<str>, &Partitions)> {
        self.by_group.get(group).into_iter().flatten()
    }

    pub(super) fn topic_ids(&self) -> impl Iterator<Item = TopicId> {
        self.topic_ids.keys().copied()
    }

    pub(super) fn is_empty(&self, group: &str) -> bool {
        !self.by_group.contains_key(group) && !self.has_pending(group)
    }

    /// Puts an offset in place of an older one.
    pub(super) fn put(&mut self, group: &Arc<str>, topic: &Arc<str>, partition: i32, value: CommittedOffset) {
        *self.topic_ids.entry(value.topic_id).or_default() += 1;
        let topics = self.by_group.entry(Arc::clone(group)).or_default();
        let partitions = topics.entry(Arc::clone(topic)).or_default();
        if let Some(older) = partitions.insert(partition, value) {
            self.forget_topic_id(older.topic_id);
        }
    }

    /// Keeps an offset until its transaction ends.
    pub(super) fn put_pending(
        &mut self,
        producer: ProducerId,
        group: &Arc<str>,
        topic: &Arc<str>,
        partition: i32,
        value: CommittedOffset,
    ) {
        let groups = self.pending.entry(producer).or_default();
        let topics = groups.entry(Arc::clone(group)).or_default();
        topics.entry(Arc::clone(topic)).or_default().insert(partition, value);
    }

    /// Ends a producer's transaction and tells the groups it committed to.
    pub(super) fn end_transaction(&mut self, producer: ProducerId, commit: bool) -> Vec<Arc<str>> {
        let groups = self.pending.remove(&producer).unwrap_or_default();
        if !commit {
            return Vec::new();
        }
        let ids = groups.keys().cloned().collect();
        for (group, topics) in groups {
            for (topic, partitions) in topics {
                for (partition, value) in partitions {
                    let newer = self
                        .get(&group, &topic, partition)
                        .is_none_or(|stored| stored.record_offset < value.record_offset);
                    if newer {
                        self.put(&group, &topic, partition, value);
                    }
                }
            }
        }
        ids
    }

    /// Removes an offset, also what open transactions have for it.
    pub(super) fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        for groups in self.pending.values_mut() {
            if let Some(topics) = groups.get_mut(group) {
                remove_from(topics, topic, partition);
                if topics.is_empty() {
                    groups.remove(group);
                }
            }
        }
        self.pending.retain(|_, groups| !groups.is_empty());
        let Some(topics) = self.by_group.get_mut(group) else {
            return;
        };
        let removed = remove_from(topics, topic, partition);
        if topics.is_empty() {
            self.by_group.remove(group);
        }
        if let Some(removed) = removed {
            self.forget_topic_id(removed.topic_id);
        }
    }

    pub(super) fn remove_group(&mut self, group: &str) {
        for (topic, partition) in self.keys_of(group) {
            self.remove(group, &topic, partition);
        }
    }

    /// Everything that a group has offsets for, committed or pending.
    pub(super) fn keys_of(&self, group: &str) -> BTreeSet<(Arc<str>, i32)> {
        let pending = self.pending.values().filter_map(|groups| groups.get(group));
        let topics = self.by_group.get(group).into_iter().chain(pending).flatten();
        topics
            .flat_map(|(topic, partitions)| partitions.keys().map(|key| (Arc::clone(topic), *key)))
            .collect()
    }

    /// Everything that any group has offsets for under these topic ids.
    pub(super) fn keys_of_topics(&self, gone: &BTreeSet<TopicId>) -> Vec<(Arc<str>, Arc<str>, i32)> {
        let pending = self.pending.values().flatten();
        let mut keys = BTreeSet::new();
        for (group, topics) in self.by_group.iter().chain(pending) {
            for (topic, partitions) in topics {
                for (partition, value) in partitions {
                    if gone.contains(&value.topic_id) {
                        keys.insert((Arc::clone(group), Arc::clone(topic), *partition));
                    }
                }
            }
        }
        keys.into_iter().collect()
    }

    pub(super) fn has_pending(&self, group: &str) -> bool {
        self.pending.values().any(|groups| groups.contains_key(group))
    }

    /// True if an open transaction has an offset for the partition.
    pub(super) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let mut topics = self.pending.values().filter_map(|groups| groups.get(group)?.get(topic));
        topics.any(|partitions| partitions.contains_key(&partition))
    }

    fn forget_topic_id(&mut self, id: TopicId) {
        if let Some(count) = self.topic_ids.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.topic_ids.remove(&id);
            }
        }
    }
}

fn remove_from(topics: &mut Topics, topic: &str, partition: i32) -> Option<CommittedOffset> {
    let partitions = topics.get_mut(topic)?;
    let removed = partitions.remove(&partition);
    if partitions.is_empty() {
        topics.remove(topic);
    }
    removed
}
