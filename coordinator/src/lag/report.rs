//! Lag from committed offsets and partition ends. Computation only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_proto::metadata::{MetadataImage, Node, Partition};
use highwater_proto::types::{NodeId, PartitionIndex, ShardId, ShardKind, TimestampMs, TopicId};

use crate::runtime::{GRPC_LISTENER, ShardOffsets};

/// A partition whose end is asked for; with a committed offset, also how old the record there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    /// Shard, group and offset.
    pub(crate) committed: Option<(ShardId, Arc<str>, i64)>,
}

/// Where a partition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    /// Timestamp of the record at the committed offset, if there is one.
    pub(crate) timestamp: Option<TimestampMs>,
}

/// How far a group is on a partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupLag {
    pub(crate) shard: ShardId,
    pub(crate) group: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) current_offset: i64,
    /// Records that are not consumed yet; `None` while the end is unknown.
    pub(crate) lag: Option<i64>,
    /// Age of the oldest of them; zero without any.
    pub(crate) lag_seconds: Option<f64>,
}

/// Where a partition starts and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicEnds {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// `None` while nobody answers for the partition.
    pub(crate) oldest: Option<i64>,
    pub(crate) current: Option<i64>,
    /// As the controller decided it.
    pub(crate) placement: Placement,
}

/// Where the replicas of a partition are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) leader: Option<NodeId>,
    pub(crate) is_preferred: bool,
    pub(crate) replicas: usize,
    pub(crate) in_sync: usize,
}

impl From<&Partition> for Placement {
    fn from(partition: &Partition) -> Self {
        Self {
            leader: partition.leader,
            is_preferred: partition.leader.is_some() && partition.leader == partition.replicas.first().copied(),
            replicas: partition.replicas.len(),
            in_sync: partition.isr.len(),
        }
    }
}

/// One look at consumer lag.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// Groups with how many members they have.
    pub(crate) members: Vec<(ShardId, Arc<str>, usize)>,
    pub(crate) groups: Vec<GroupLag>,
    pub(crate) topics: Vec<TopicEnds>,
    /// Partitions of the topics in `topics`.
    pub(crate) partition_counts: BTreeMap<Arc<str>, usize>,
    /// Shards with how many of their committed offsets are not in `groups`.
    pub(crate) left_out: Vec<(ShardId, usize)>,
    /// Partitions whose ends nobody was asked for, because there are too many.
    pub(crate) not_asked: usize,
    /// The live brokers with their addresses; one coordinator of the cluster tells.
    pub(crate) brokers: Option<Vec<(NodeId, String)>>,
}

/// What one coordinator tells of, by an image: the shards that it owns and the topics that are spread over the shards. So
/// nothing is told twice, also while shards move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share<'a> {
    pub(crate) image: &'a MetadataImage,
    pub(crate) coordinator: NodeId,
}

impl Share<'_> {
    pub(crate) fn has_shard(&self, shard: ShardId) -> bool {
        let assignment = self.image.shards.get(&shard);
        assignment.is_some_and(|it| it.owner == Some(self.coordinator))
    }

    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        let group = ShardKind::Group;
        let shards = self
            .image
            .topic(group.topic())
            .map_or(0, |topic| topic.partitions.len());
        match home_shard(topic, shards) {
            Some(index) => self.has_shard(ShardId {
                kind: group,
                index: PartitionIndex(index),
            }),
            // Before anybody has used a group there are no shards: then one coordinator tells of everything.
            None => self.is_first(),
        }
    }

    /// Tells what concerns no topic.
    pub(crate) fn is_first(&self) -> bool {
        let first = self.image.live_coordinators().next();
        first.is_some_and(|node| node.id == self.coordinator)
    }
}

impl Report {
    /// Committed offsets that are shown without a lag, or not at all.
    pub(crate) fn groups_unknown(&self) -> usize {
        let left_out: usize = self.left_out.iter().map(|(_, count)| count).sum();
        left_out + self.groups.iter().filter(|lag| lag.lag.is_none()).count()
    }

    /// Partitions of topics that are shown without their ends.
    pub(crate) fn topics_unknown(&self) -> usize {
        self.topics.iter().filter(|ends| ends.current.is_none()).count()
    }

    /// What of it is (still) this coordinator's to tell.
    pub(crate) fn within(&self, share: &Share<'_>) -> Self {
        let mut report = self.clone();
        report.members.retain(|(shard, ..)| share.has_shard(*shard));
        report.groups.retain(|lag| share.has_shard(lag.shard));
        report.left_out.retain(|(shard, _)| share.has_shard(*shard));
        report.partition_counts.retain(|topic, _| share.has_topic(topic));
        report
            .topics
            .retain(|ends| report.partition_counts.contains_key(&ends.topic));
        report.brokers = report.brokers.filter(|_| share.is_first());
        report
    }
}

/// The live brokers with the address of their first listener for clients.
pub(crate) fn brokers(image: &MetadataImage) -> Vec<(NodeId, String)> {
    let address = |node: &Node| {
        let mut listeners = node.registration.endpoints.iter();
        let client = listeners.find(|endpoint| endpoint.name != GRPC_LISTENER);
        client.map_or_else(String::new, |endpoint| format!("{}:{}", endpoint.host, endpoint.port))
    };
    image.live_brokers().map(|node| (node.id, address(node))).collect()
}

/// What to ask for the offsets of the groups. Those of topics that are gone have no lag.
pub(crate) fn group_queries(shards: &[ShardOffsets], image: &MetadataImage) -> Vec<Query> {
    let mut queries = Vec::new();
    let all = shards
        .iter()
        .flat_map(|shard| shard.offsets.iter().map(|committed| (shard.shard, committed)));
    for (shard, committed) in all {
        let Some(topic) = image.topic(&committed.topic) else {
            continue;
        };
        let same = committed.topic_id.is_zero() || committed.topic_id == topic.id;
        if same && usize::try_from(committed.partition).is_ok_and(|index| index < topic.partitions.len()) {
            queries.push(Query {
                topic: Arc::clone(&topic.name),
                topic_id: topic.id,
                partition: committed.partition,
                committed: Some((shard, Arc::clone(&committed.group), committed.offset)),
            });
        }
    }
    queries
}

/// The figures.
pub(crate) fn compute(
    shards: &[ShardOffsets],
    image: &MetadataImage,
    queries: &[Query],
    ends: &[Option<End>],
    now: TimestampMs,
) -> Report {
    let mut report = Report {
        members: shards.iter().flat_map(members).collect(),
        left_out: shards
            .iter()
            .map(|shard| (shard.shard, shard.left_out))
            .filter(|(_, count)| *count > 0)
            .collect(),
        ..Report::default()
    };
    let mut topics = BTreeSet::new();
    for (query, end) in queries.iter().zip(ends) {
        match (&query.committed, end) {
            (Some((shard, group, offset)), end) => {
                report.groups.push(group_lag(query, *shard, group, *offset, *end, now));
            }
            (None, end) => {
                topics.insert(Arc::clone(&query.topic));
                report.topics.push(TopicEnds {
                    topic: Arc::clone(&query.topic),
                    partition: query.partition,
                    oldest: end.map(|end| end.log_start),
                    current: end.map(|end| end.high_watermark),
                    placement: image
                        .partition(query.topic_id, PartitionIndex(query.partition))
                        .map(|partition| Placement::from(&**partition))
                        .unwrap_or_default(),
                });
            }
        }
    }
    for topic in topics {
        let count = image.topic(&topic).map_or(0, |topic| topic.partitions.len());
        report.partition_counts.insert(topic, count);
    }
    report
}

fn members(shard: &ShardOffsets) -> impl Iterator<Item = (ShardId, Arc<str>, usize)> {
    let groups = shard.groups.iter();
    groups.map(|(group, members)| (shard.shard, Arc::clone(group), *members))
}

fn group_lag(
    query: &Query,
    shard: ShardId,
    group: &Arc<str>,
    offset: i64,
    end: Option<End>,
    now: TimestampMs,
) -> GroupLag {
    let lag = end.map(|end| (end.high_watermark - offset.max(end.log_start)).max(0));
    let age = |end: End| {
        let since = end.timestamp.map_or(now.get(), TimestampMs::get);
        now.get().saturating_sub(since).max(0) as f64 / 1000.0
    };
    GroupLag {
        shard,
        group: Arc::clone(group),
        topic: Arc::clone(&query.topic),
        partition: query.partition,
        current_offset: offset,
        lag,
        lag_seconds: end.map(|end| if lag == Some(0) { 0.0 } else { age(end) }),
    }
}

/// The shard that reports on a topic: spread by name, any spread will do.
pub(crate) fn home_shard(topic: &str, shard_count: usize) -> Option<i32> {
    let hash = topic
        .bytes()
        .fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let count = u64::try_from(shard_count).ok().filter(|count| *count > 0)?;
    i32::try_from(hash % count).ok()
}

#[cfg(test)]
mod tests {
    use highwater_proto::metadata::{Change, MetadataUpdate};
    use highwater_proto::types::Revision;
    use uuid::Uuid;

    use super::*;
    use crate::runtime::GroupOffset;

    const TOPIC: TopicId = TopicId(Uuid::from_u128(7));
    const SHARD: ShardId = ShardId {
        kind: ShardKind::Group,
        index: PartitionIndex(0),
    };

    fn image() -> MetadataImage {
        let changes = vec![
            Change::PutPartition(TOPIC, PartitionIndex(0), Partition::default()),
            Change::PutTopic {
                name: "t".to_owned(),
                topic_id: TOPIC,
                partition_count: 1,
                configs: BTreeMap::new(),
                owner: None,
            },
        ];
        let update = MetadataUpdate {
            revision: Revision(1),
            changes,
        };
        MetadataImage::default().apply(&update)
    }

    fn committed(topic: &str, topic_id: TopicId, partition: i32, offset: i64) -> Vec<ShardOffsets> {
        vec![ShardOffsets {
            shard: SHARD,
            groups: vec![("g".into(), 2)],
            left_out: 0,
            offsets: vec![GroupOffset {
                group: "g".into(),
                topic: topic.into(),
                topic_id,
                partition,
                offset,
            }],
        }]
    }

    fn lag_of(offset: i64, end: Option<End>) -> GroupLag {
        let shards = committed("t", TOPIC, 0, offset);
        let queries = group_queries(&shards, &image());
        let mut report = compute(&shards, &image(), &queries, &[end], TimestampMs(10_000));
        assert_eq!(report.members, [(SHARD, "g".into(), 2)]);
        report.groups.remove(0)
    }

    fn end(log_start: i64, high_watermark: i64, timestamp: Option<i64>) -> Option<End> {
        Some(End {
            log_start,
            high_watermark,
            timestamp: timestamp.map(TimestampMs),
        })
    }

    #[test]
    fn lag_is_counted_in_records_and_as_the_age_of_the_oldest() {
        let behind = lag_of(5, end(0, 12, Some(7_500)));
        assert_eq!(
            (behind.current_offset, behind.lag, behind.lag_seconds),
            (5, Some(7), Some(2.5))
        );
        let done = lag_of(12, end(0, 12, None));
        assert_eq!((done.lag, done.lag_seconds), (Some(0), Some(0.0)));
        let ahead = lag_of(20, end(0, 12, None));
        assert_eq!(ahead.lag, Some(0), "a recreated or truncated topic");
        let deleted = lag_of(5, end(10, 12, Some(9_000)));
        assert_eq!(deleted.lag, Some(2), "what retention took cannot be consumed");
        assert_eq!(lag_of(5, None).lag, None);
    }

    #[test]
    fn offsets_of_other_topics_and_partitions_have_no_lag() {
        let other = TopicId(Uuid::from_u128(8));
        for shards in [
            committed("gone", TOPIC, 0, 1),
            committed("t", other, 0, 1),
            committed("t", TOPIC, 1, 1),
        ] {
            assert!(group_queries(&shards, &image()).is_empty());
        }
        assert_eq!(group_queries(&committed("t", TopicId::ZERO, 0, 1), &image()).len(), 1);
    }

    #[test]
    fn every_topic_has_one_home() {
        assert_eq!(home_shard("t", 0), None);
        let homes: BTreeSet<_> = (0..1_000)
            .filter_map(|n| home_shard(&format!("topic-{n}"), 50))
            .collect();
        assert_eq!(homes, (0..50).collect());
    }
}
