//! OffsetDelete (rule 86).

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;

use super::effects::Env;
use super::groups::Groups;
use super::membership::ClassicGroup;
use super::record::Record;
use super::reply::{CommittedPartition, CommittedTopic, OffsetDeleteReply};
use super::request::{DeletePartition, OffsetDelete};
use super::state::GroupState;

impl Groups {
    /// Deletes offsets of topics that no member consumes.
    pub(super) fn offset_delete(&mut self, request: OffsetDelete, env: &mut Env<'_>) -> OffsetDeleteReply {
        let allowed = match self.group(&request.group_id) {
            // It can be committed for and deleted as a whole (rule 73).
            _ if request.group_id.is_empty() => Err(ErrorCode::InvalidGroupId),
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group) => group.validate_offset_delete(),
        };
        if let Err(error) = allowed {
            return OffsetDeleteReply {
                error,
                topics: Vec::new(),
            };
        }
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let verdict = |partition: &DeletePartition| CommittedPartition {
                partition: partition.partition,
                error: partition
                    .refused
                    .unwrap_or_else(|| self.verdict(&request.group_id, &topic.name)),
            };
            let partitions: Vec<_> = topic.partitions.iter().map(verdict).collect();
            for outcome in partitions.iter().filter(|outcome| outcome.error == ErrorCode::None) {
                if self.has_offset(&request.group_id, &topic.name, outcome.partition) {
                    records.push(Record::offset_tombstone(
                        &request.group_id,
                        &topic.name,
                        outcome.partition,
                    ));
                    self.offsets.remove(&request.group_id, &topic.name, outcome.partition);
                }
            }
            topics.push(CommittedTopic {
                name: topic.name,
                partitions,
            });
        }
        env.append_each(records);
        OffsetDeleteReply {
            error: ErrorCode::None,
            topics,
        }
    }

    fn verdict(&self, group: &Arc<str>, topic: &str) -> ErrorCode {
        if self.group(group).is_some_and(|group| group.is_subscribed_to(topic)) {
            ErrorCode::GroupSubscribedToTopic
        } else {
            ErrorCode::None
        }
    }

    fn has_offset(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.offsets.get(group, topic, partition).is_some() || self.offsets.is_pending(group, topic, partition)
    }
}

impl ClassicGroup {
    /// What a live group that is not one of consumers needs is not known.
    fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        if self.is_in(GroupState::Empty) || self.is_consumer() {
            Ok(())
        } else {
            Err(ErrorCode::NonEmptyGroup)
        }
    }
}
