//! OffsetCommit (rules 83, 142).

use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::offset_commit::response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use highwater_proto::kafka::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use highwater_proto::types::TopicId;

use super::{Context, Encoded, name, optional_name, read, unknown_partition, wire, write};
use crate::group::{CommitPartition, CommitTopic, OffsetCommit, Reply, Request};

/// From here on a group that does not exist is named as such.
const GROUP_ID_NOT_FOUND: i16 = 9;

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: OffsetCommitRequest = read(body, context.version)?;
    let unknown_group_error = if context.version >= GROUP_ID_NOT_FOUND {
        ErrorCode::GroupIdNotFound
    } else {
        ErrorCode::IllegalGeneration
    };
    let topics = request.topics.iter().map(|topic| CommitTopic {
        name: name(&topic.name),
        topic_id: context.image.topic(&topic.name).map_or(TopicId::ZERO, |known| known.id),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| CommitPartition {
                partition: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: Box::from(partition.committed_metadata.as_deref().unwrap_or_default()),
                refused: unknown_partition(context.image, &topic.name, partition.partition_index),
            })
            .collect(),
    });
    Ok(Request::OffsetCommit(OffsetCommit {
        group_id: name(&request.group_id),
        generation: request.generation_id_or_member_epoch,
        member_id: name(&request.member_id),
        instance_id: optional_name(request.group_instance_id.as_ref()),
        retention: u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis),
        unknown_group_error,
        topics: topics.collect(),
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::OffsetCommit(topics) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let topics = topics.into_iter().map(|topic| OffsetCommitResponseTopic {
        name: wire(&topic.name),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition,
                error_code: partition.error.code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    };
    write(&response, version)
}
