//! DeleteRecords (21): makes an offset the first that can be read of a partition.

use std::ops::RangeInclusive;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::delete_records::request::DeleteRecordsTopic;
use highwater_proto::kafka::messages::delete_records::response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use highwater_proto::kafka::messages::delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
use highwater_proto::types::{Offset, is_internal_topic};

use super::{Api, RequestContext};
use crate::broker::Broker;

/// Handler of DeleteRecords.
pub(super) struct DeleteRecords;

/// Stands for the high watermark: delete all that can be read.
const HIGH_WATERMARK: i64 = -1;
/// The low watermark of a partition whose records were not deleted.
const NO_LOW_WATERMARK: i64 = -1;

impl Api for DeleteRecords {
    type Request = DeleteRecordsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=2;

    async fn handle(context: &RequestContext, _: i16, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
        let topics = request
            .topics
            .into_iter()
            .map(|topic| delete_of_topic(&context.broker, topic));
        DeleteRecordsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

fn delete_of_topic(broker: &Broker, topic: DeleteRecordsTopic) -> DeleteRecordsTopicResult {
    let partitions = topic.partitions.iter().map(|partition| {
        let deleted = delete(broker, &topic.name, partition.partition_index, partition.offset);
        DeleteRecordsPartitionResult {
            partition_index: partition.partition_index,
            low_watermark: deleted.map_or(NO_LOW_WATERMARK, Offset::get),
            error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
            ..Default::default()
        }
    });
    let partitions = partitions.collect();
    DeleteRecordsTopicResult {
        name: topic.name,
        partitions,
        ..Default::default()
    }
}

/// Moves the log start; an offset below it changes nothing. The answer is where the log starts now.
fn delete(broker: &Broker, topic: &str, index: i32, offset: i64) -> Result<Offset, ErrorCode> {
    if is_internal_topic(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let image = broker.image();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = broker.partitions().find(topic, index)?;
    let settings = partition.topic().settings();
    if settings.log.compact && !settings.log.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let offset = match offset {
        HIGH_WATERMARK => None,
        ..HIGH_WATERMARK => return Err(ErrorCode::OffsetOutOfRange),
        0.. => Some(Offset(offset)),
    };
    partition.delete_records(offset)
}
