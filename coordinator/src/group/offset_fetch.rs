//! OffsetFetch (rule 84).

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;

use super::groups::Groups;
use super::offsets::CommittedOffset;
use super::reply::{FetchedGroup, FetchedPartition, FetchedTopic};
use super::request::{FetchGroup, FetchTopic, OffsetFetch};

impl Groups {
    /// The committed offsets, in the order of the request; brokers ask once for all of a group. What was committed for
    /// another topic of the same name does not count.
    pub(super) fn offset_fetch(&self, request: &OffsetFetch, image: &MetadataImage) -> Vec<FetchedGroup> {
        let fetch = |group: &FetchGroup| FetchedGroup {
            group_id: Arc::clone(&group.group_id),
            error: ErrorCode::None,
            topics: match &group.topics {
                Some(topics) => self.fetch_topics(&group.group_id, topics, request.require_stable, image),
                None => self.fetch_all(&group.group_id, request.require_stable, image),
            },
        };
        request.groups.iter().map(fetch).collect()
    }

    fn fetch_topics(
        &self,
        group: &str,
        topics: &[FetchTopic],
        require_stable: bool,
        image: &MetadataImage,
    ) -> Vec<FetchedTopic> {
        let fetch = |topic: &FetchTopic| FetchedTopic {
            name: Arc::clone(&topic.name),
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    if require_stable && self.offsets.is_pending(group, &topic.name, *partition) {
                        return unstable(*partition);
                    }
                    let stored = self.offsets.get(group, &topic.name, *partition);
                    let stored = stored.filter(|stored| is_of_topic(stored, &topic.name, image));
                    stored.map_or_else(|| missing(*partition), |stored| found(*partition, stored))
                })
                .collect(),
        };
        topics.iter().map(fetch).collect()
    }

    fn fetch_all(&self, group: &str, require_stable: bool, image: &MetadataImage) -> Vec<FetchedTopic> {
        let mut topics = Vec::new();
        for (name, partitions) in self.offsets.of_group(group) {
            let of_topic = partitions.iter().filter(|(_, stored)| is_of_topic(stored, name, image));
            let fetched = of_topic.map(|(partition, stored)| {
                if require_stable && self.offsets.is_pending(group, name, *partition) {
                    unstable(*partition)
                } else {
                    found(*partition, stored)
                }
            });
            let partitions: Vec<_> = fetched.collect();
            if !partitions.is_empty() {
                topics.push(FetchedTopic {
                    name: Arc::clone(name),
                    partitions,
                });
            }
        }
        topics
    }
}

/// An offset without a topic id counts for whatever has the name.
pub(super) fn is_of_topic(stored: &CommittedOffset, name: &str, image: &MetadataImage) -> bool {
    stored.topic_id.is_zero() || image.topic(name).is_some_and(|topic| topic.id == stored.topic_id)
}

fn found(partition: i32, stored: &CommittedOffset) -> FetchedPartition {
    FetchedPartition {
        partition,
        offset: stored.offset,
        leader_epoch: stored.leader_epoch,
        metadata: stored.metadata.clone(),
        error: ErrorCode::None,
    }
}

fn missing(partition: i32) -> FetchedPartition {
    FetchedPartition {
        partition,
        offset: -1,
        leader_epoch: -1,
        metadata: Box::from(""),
        error: ErrorCode::None,
    }
}

fn unstable(partition: i32) -> FetchedPartition {
    FetchedPartition {
        error: ErrorCode::UnstableOffsetCommit,
        ..missing(partition)
    }
}
