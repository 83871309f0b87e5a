//! How large replicas are, as brokers told last, and what follows from it: what partitions weigh, how much a reassignment
//! or a drain has to copy still, and how long that may take.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use highwater_proto::metadata::{MetadataImage, Partition};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::cluster::planner::{Load, PlannedMove};

/// A pace is measured over this long at most, so that it follows a throttle that was changed.
const WINDOW: Duration = Duration::from_secs(60);
/// Two measurements are so far apart at least.
const STEP: Duration = Duration::from_secs(1);

/// Bytes of replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaSizes {
    sizes: BTreeMap<TopicPartition, Vec<(NodeId, u64)>>,
}

impl ReplicaSizes {
    /// A broker told.
    pub fn insert(&mut self, node: NodeId, key: TopicPartition, bytes: u64) {
        self.sizes.entry(key).or_default().push((node, bytes));
    }

    fn of(&self, key: &TopicPartition, node: NodeId) -> Option<u64> {
        let told = self.sizes.get(key)?.iter().find(|(teller, _)| *teller == node);
        told.map(|(_, bytes)| *bytes)
    }

    /// What a partition weighs: what its leader has of it, or the largest of its replicas.
    #[must_use]
    pub fn weight(&self, key: &TopicPartition, partition: &Partition) -> u64 {
        let leader = partition.leader.and_then(|leader| self.of(key, leader));
        let largest = || self.sizes.get(key)?.iter().map(|(_, bytes)| *bytes).max();
        leader.or_else(largest).unwrap_or_default()
    }

    /// What all partitions weigh.
    #[must_use]
    pub fn load(&self, image: &MetadataImage) -> Load {
        let weigh = |key: &TopicPartition| {
            let partition = image.partition(key.topic_id, key.partition)?;
            Some((*key, self.weight(key, partition)))
        };
        self.sizes.keys().filter_map(weigh).collect()
    }

    /// Bytes that replicas which a reassignment adds lack still.
    #[must_use]
    pub fn lacking(&self, key: &TopicPartition, partition: &Partition) -> u64 {
        if partition.adding.is_empty() {
            return 0;
        }
        let weight = self.weight(key, partition);
        let behind = partition.adding.iter().filter(|node| !partition.isr.contains(node));
        let lacks = |node: &NodeId| weight.saturating_sub(self.of(key, *node).unwrap_or_default());
        behind.map(lacks).fold(0, u64::saturating_add)
    }

    /// Bytes of a broker's replicas that others have not copied yet.
    #[must_use]
    pub fn to_drain(&self, image: &MetadataImage, node: NodeId) -> u64 {
        let replicas = partitions(image).filter(|(_, partition)| partition.replicas.contains(&node));
        let left = |(key, partition): (TopicPartition, &Partition)| {
            if partition.removing.contains(&node) {
                self.lacking(&key, partition)
            } else {
                self.weight(&key, partition)
            }
        };
        replicas.map(left).fold(0, u64::saturating_add)
    }

    /// Bytes that all reassignments and these planned moves have to copy still.
    #[must_use]
    pub fn to_move(&self, image: &MetadataImage, planned: &[PlannedMove]) -> u64 {
        let under_way = partitions(image).map(|(key, partition)| self.lacking(&key, partition));
        let planned = planned.iter().map(|planned| {
            let partition = image.partition(planned.key.topic_id, planned.key.partition);
            let weight = partition.map_or(0, |partition| self.weight(&planned.key, partition));
            weight.saturating_mul(planned.copies.len() as u64)
        });
        under_way.chain(planned).fold(0, u64::saturating_add)
    }
}

fn partitions(image: &MetadataImage) -> impl Iterator<Item = (TopicPartition, &Partition)> {
    image.topics().flat_map(|topic| {
        topic.indexed_partitions().map(|(partition, state)| {
            let key = TopicPartition {
                topic_id: topic.id,
                partition,
            };
            (key, &**state)
        })
    })
}

/// How fast something that shrinks does so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// When how much was left.
    points: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// So much is left at `now`. Answers how long the rest may take; `None` while that cannot be told.
    pub fn left(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        // More than before: something else began.
        if self.points.back().is_some_and(|(_, before)| bytes > *before) {
            self.points.clear();
        }
        let is_due = |(at, _): &(Duration, u64)| now.saturating_sub(*at) >= STEP;
        if self.points.back().is_none_or(is_due) {
            self.points.push_back((now, bytes));
        }
        while self.points.len() > 2
            && self
                .points
                .front()
                .is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
        {
            self.points.pop_front();
        }
        if bytes == 0 {
            return Some(Duration::ZERO);
        }
        let (since, most) = *self.points.front()?;
        let (took, done) = (now.saturating_sub(since), most.saturating_sub(bytes));
        if took < STEP || done == 0 {
            return None;
        }
        Duration::try_from_secs_f64(took.as_secs_f64() * bytes as f64 / done as f64).ok()
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::metadata::{Change, MetadataUpdate};
    use highwater_proto::types::{PartitionIndex, Revision, TopicId};
    use uuid::Uuid;

    use super::*;

    fn key(partition: i32) -> TopicPartition {
        TopicPartition {
            topic_id: TopicId(Uuid::from_u128(1)),
            partition: PartitionIndex(partition),
        }
    }

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn image(partitions: &[Partition]) -> MetadataImage {
        let put = |(index, partition): (i32, &Partition)| {
            Change::PutPartition(key(0).topic_id, PartitionIndex(index), partition.clone())
        };
        let mut changes: Vec<_> = (0..).zip(partitions).map(put).collect();
        changes.push(Change::PutTopic {
            name: "a".into(),
            topic_id: key(0).topic_id,
            partition_count: partitions.len() as i32,
            configs: BTreeMap::new(),
            owner: None,
        });
        MetadataImage::default().apply(&MetadataUpdate {
            revision: Revision(1),
            changes,
        })
    }

    #[test]
    fn what_is_left_is_what_new_replicas_lack_of_the_leaders() {
        // Partition 0 moves from 2 to 3 and 4, of which 4 has everything; 1 is to leave 2 some time; 2 is not there.
        let moving = Partition {
            replicas: nodes(&[1, 3, 4, 2]),
            adding: nodes(&[3, 4]),
            removing: nodes(&[2]),
            isr: nodes(&[1, 2, 4]),
            leader: Some(NodeId(1)),
            ..Partition::default()
        };
        let resting = Partition {
            replicas: nodes(&[2, 1]),
            isr: nodes(&[2, 1]),
            leader: None,
            ..Partition::default()
        };
        let elsewhere = Partition {
            replicas: nodes(&[1, 4]),
            ..resting.clone()
        };
        let image = image(&[moving, resting, elsewhere]);
        let mut sizes = ReplicaSizes::default();
        assert_eq!(sizes.to_drain(&image, NodeId(2)), 0, "nobody has told anything");
        for (node, partition, bytes) in [
            (1, 0, 1_000),
            (2, 0, 1_100),
            (3, 0, 300),
            (4, 0, 900),
            (1, 1, 50),
            (2, 1, 70),
        ] {
            sizes.insert(NodeId(node), key(partition), bytes);
        }
        assert_eq!(sizes.to_drain(&image, NodeId(2)), 700 + 70);
        assert_eq!(sizes.to_drain(&image, NodeId(5)), 0);
        let planned = PlannedMove {
            key: key(1),
            epoch: Default::default(),
            target: nodes(&[3, 4]),
            copies: nodes(&[3, 4]),
        };
        assert_eq!(sizes.to_move(&image, &[planned]), 700 + 2 * 70);
        assert_eq!(
            sizes.load(&image),
            Load::from([(key(0), 1_000), (key(1), 70)]),
            "a leader's word counts more than a larger replica's"
        );
    }

    #[test]
    fn a_pace_is_told_once_it_is_known_and_follows_what_happens() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::default();
        assert_eq!(pace.left(seconds(0), 1_000), None);
        assert_eq!(pace.left(Duration::from_millis(300), 900), None, "too soon");
        assert_eq!(pace.left(seconds(2), 800), Some(seconds(8)));
        // Ten times slower from now on: after a while only that counts.
        let mut last = None;
        for second in 3..=70 {
            last = pace.left(seconds(second), 800 - 10 * (second - 2));
        }
        let last = last.unwrap();
        assert!(
            (11..=13).contains(&last.as_secs()),
            "{last:?} for 120 bytes at 10 a second"
        );
        assert_eq!(pace.left(seconds(71), 5_000), None, "something else began");
        assert_eq!(pace.left(seconds(75), 5_000), None, "nothing moves");
        assert_eq!(pace.left(seconds(76), 0), Some(seconds(0)));
        assert!(pace.points.len() < 70);
    }
}
