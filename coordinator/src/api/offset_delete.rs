//! OffsetDelete (rule 86).

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::offset_delete::response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use highwater_proto::kafka::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{Context, Encoded, name, read, unknown_partition, wire, write};
use crate::group::{DeletePartition, DeleteTopic, OffsetDelete, Reply, Request};

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: OffsetDeleteRequest = read(body, context.version)?;
    let topics = request.topics.iter().map(|topic| DeleteTopic {
        name: name(&topic.name),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| DeletePartition {
                partition: partition.partition_index,
                refused: unknown_partition(context.image, &topic.name, partition.partition_index),
            })
            .collect(),
    });
    Ok(Request::OffsetDelete(OffsetDelete {
        group_id: name(&request.group_id),
        topics: topics.collect(),
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::OffsetDelete(reply) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let topics = reply.topics.into_iter().map(|topic| OffsetDeleteResponseTopic {
        name: wire(&topic.name),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition,
                error_code: partition.error.code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = OffsetDeleteResponse {
        error_code: reply.error.code(),
        topics: topics.collect(),
        ..Default::default()
    };
    write(&response, version)
}
