//! OffsetCommit (rules 83, 142).

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::TimestampMs;

use super::effects::{Env, Token};
use super::groups::Groups;
use super::membership::ClassicGroup;
use super::offsets::CommittedOffset;
use super::record::Record;
use super::reply::{CommittedPartition, CommittedTopic, Reply};
use super::request::{CommitPartition, OffsetCommit};
use super::state::GroupState;

impl Groups {
    /// Commits what can be committed; an error of the group goes to every partition that was not refused already.
    pub(super) fn offset_commit(&mut self, token: Token, request: OffsetCommit, env: &mut Env<'_>) {
        let acceptable = |partition: &CommitPartition| partition.refused.is_none();
        let outcome = if request
            .topics
            .iter()
            .any(|topic| topic.partitions.iter().any(acceptable))
        {
            self.validate_commit(&request, env)
        } else {
            Ok(())
        };
        let max = env.config.offset_metadata_max;
        let verdict = |partition: &CommitPartition| match (partition.refused, outcome) {
            (Some(error), _) | (None, Err(error)) => Some(error),
            _ if utf16_len(&partition.metadata) > max => Some(ErrorCode::OffsetMetadataTooLarge),
            _ => None,
        };
        let accepted = accepted_offsets(&request, verdict, env.now.wall);
        let stored = self.store(&request.group_id, accepted, env);
        let topics = request.topics.iter().map(|topic| CommittedTopic {
            name: Arc::clone(&topic.name),
            partitions: topic
                .partitions
                .iter()
                .map(|partition| CommittedPartition {
                    partition: partition.partition,
                    error: verdict(partition).or(stored.err()).unwrap_or(ErrorCode::None),
                })
                .collect(),
        });
        let reply = Reply::OffsetCommit(topics.collect());
        env.reply(token, reply);
    }

    fn validate_commit(&self, request: &OffsetCommit, env: &mut Env<'_>) -> Result<(), ErrorCode> {
        let Some(group) = self.group(&request.group_id) else {
            // Without a generation it is a commit of a simple group, which comes into being by it.
            return if request.generation < 0 {
                Ok(())
            } else {
                Err(request.unknown_group_error)
            };
        };
        group.validate_commit(request)?;
        if matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance) {
            group.restart_session(&request.member_id, env);
        }
        Ok(())
    }

    fn store(&mut self, group: &Arc<str>, offsets: Vec<Accepted>, env: &mut Env<'_>) -> Result<(), ErrorCode> {
        if offsets.is_empty() {
            return Ok(());
        }
        let record = |it: &Accepted| Record::offset_commit(group, &it.topic, it.partition, &it.value);
        let records: Vec<Record> = offsets.iter().map(record).collect();
        if !env.fits(&records) {
            return Err(ErrorCode::UnknownServerError);
        }
        let mut record_offset = env.append(records);
        self.ensure_group(group);
        for mut accepted in offsets {
            accepted.value.record_offset = record_offset;
            self.offsets
                .put(group, &accepted.topic, accepted.partition, accepted.value);
            record_offset = record_offset.plus(1);
        }
        Ok(())
    }
}

impl ClassicGroup {
    fn validate_commit(&self, request: &OffsetCommit) -> Result<(), ErrorCode> {
        if request.generation < 0 && self.is_in(GroupState::Empty) {
            return Ok(());
        }
        if request.generation < 0 && request.member_id.is_empty() && request.instance_id.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.is_in(GroupState::CompletingRebalance) {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}

struct Accepted {
    topic: Arc<str>,
    partition: i32,
    value: CommittedOffset,
}

fn accepted_offsets(
    request: &OffsetCommit,
    verdict: impl Fn(&CommitPartition) -> Option<ErrorCode>,
    now: TimestampMs,
) -> Vec<Accepted> {
    let expires = |retention: Duration| {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        TimestampMs(now.get().saturating_add(retention))
    };
    let mut accepted = Vec::new();
    for topic in &request.topics {
        for partition in topic.partitions.iter().filter(|partition| verdict(partition).is_none()) {
            let value = CommittedOffset {
                offset: partition.offset,
                leader_epoch: partition.leader_epoch,
                metadata: partition.metadata.clone(),
                commit_timestamp: now,
                expire_timestamp: request.retention.map(expires),
                topic_id: topic.topic_id,
                record_offset: highwater_proto::types::Offset(0),
            };
            accepted.push(Accepted {
                topic: Arc::clone(&topic.name),
                partition: partition.partition,
                value,
            });
        }
    }
    accepted
}

/// Kafka counts the text as Java does.
fn utf16_len(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}
