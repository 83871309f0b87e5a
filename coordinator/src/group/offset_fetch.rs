//! OffsetFetch (rule 84).

use std::collections::HashSet;
use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;

use super::groups::Groups;
use super::offsets::CommittedOffset;
use super::reply::{FetchedGroup, FetchedPartition, FetchedTopic};
use super::request::{FetchGroup, FetchTopic, OffsetFetch};

/// Text of offsets that one request gets more than once, in bytes. A partition is named with four bytes and answered with
/// up to 4 KiB, so that one that is named a million times would make a short request ask for a reply without bound.
const MAX_REPEATED_TEXT: usize = 1 << 20;

/// Offsets with a text that a request was answered with.
struct Answered<'a> {
    offsets: HashSet<(&'a str, &'a str, i32)>,
    /// Bytes of text that may still be repeated.
    text_left: usize,
}

impl<'a> Answered<'a> {
    /// Counts an answer; false if it repeats more than one request gets.
    fn admits(&mut self, group: &'a str, topic: &'a str, partition: i32, text: &str) -> bool {
        if text.is_empty() || self.offsets.insert((group, topic, partition)) {
            return true;
        }
        let left = self.text_left.checked_sub(text.len());
        self.text_left = left.unwrap_or(self.text_left);
        left.is_some()
    }
}

impl Groups {
    /// The committed offsets, in the order of the request; brokers ask once for all of a group. What was committed for
    /// another topic of the same name does not count.
    pub(super) fn offset_fetch<'a>(&self, request: &'a OffsetFetch, image: &MetadataImage) -> Vec<FetchedGroup> {
        let mut answered = Answered {
            offsets: HashSet::new(),
            text_left: MAX_REPEATED_TEXT,
        };
        let fetch = |group: &'a FetchGroup| FetchedGroup {
            group_id: Arc::clone(&group.group_id),
            error: ErrorCode::None,
            topics: match &group.topics {
                Some(topics) => {
                    let fetch = |topic| self.fetch_topic(group, topic, request.require_stable, image, &mut answered);
                    topics.iter().map(fetch).collect()
                }
                None => self.fetch_all(&group.group_id, request.require_stable, image),
            },
        };
        request.groups.iter().map(fetch).collect()
    }

    /// A partition that is named again is answered again, as Apache Kafka does, as far as [`MAX_REPEATED_TEXT`] goes.
    fn fetch_topic<'a>(
        &self,
        group: &'a FetchGroup,
        topic: &'a FetchTopic,
        require_stable: bool,
        image: &MetadataImage,
        answered: &mut Answered<'a>,
    ) -> FetchedTopic {
        let (group, name) = (&*group.group_id, &*topic.name);
        let fetch = |partition: i32| {
            if require_stable && self.offsets.is_pending(group, name, partition) {
                return refused(partition, ErrorCode::UnstableOffsetCommit);
            }
            let stored = self.offsets.get(group, name, partition);
            match stored.filter(|stored| is_of_topic(stored, name, image)) {
                Some(stored) if answered.admits(group, name, partition, &stored.metadata) => found(partition, stored),
                Some(_) => refused(partition, ErrorCode::InvalidRequest),
                None => missing(partition),
            }
        };
        FetchedTopic {
            name: Arc::clone(&topic.name),
            partitions: topic.partitions.iter().copied().map(fetch).collect(),
        }
    }

    fn fetch_all(&self, group: &str, require_stable: bool, image: &MetadataImage) -> Vec<FetchedTopic> {
        let mut topics = Vec::new();
        for (name, partitions) in self.offsets.of_group(group) {
            let of_topic = partitions.iter().filter(|(_, stored)| is_of_topic(stored, name, image));
            let fetched = of_topic.map(|(partition, stored)| {
                if require_stable && self.offsets.is_pending(group, name, *partition) {
                    refused(*partition, ErrorCode::UnstableOffsetCommit)
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

fn refused(partition: i32, error: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        error,
        ..missing(partition)
    }
}
