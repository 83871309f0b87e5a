//! DeleteRecords (21): makes an offset the first that can be read of a partition.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::messages::delete_records::request::DeleteRecordsTopic;
use highwater_proto::kafka::messages::delete_records::response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use highwater_proto::kafka::messages::delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::{Offset, is_internal_topic};
use tokio::time::Instant;

use super::{Api, RequestContext};
use crate::broker::Broker;
use crate::partition::{Partition, WaiterGuard};

/// Handler of DeleteRecords.
pub(super) struct DeleteRecords;

/// Stands for the high watermark: delete all that can be read.
const HIGH_WATERMARK: i64 = -1;
/// Longest wait for followers, whatever the client asks for.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// The low watermark of a partition whose records were not deleted.
const NO_LOW_WATERMARK: i64 = -1;

impl Api for DeleteRecords {
    type Request = DeleteRecordsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=2;

    async fn handle(context: &RequestContext, _: i16, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(MAX_WAIT);
        let deadline = Instant::now() + timeout;
        // All are deleted before the first is waited for.
        let deleted: Vec<(ByteStr, Vec<Deletion>)> = wanted(&request.topics)
            .into_iter()
            .map(|(topic, offsets)| {
                let offsets = offsets.into_iter();
                let deletions = offsets.map(|(index, offset)| Deletion::begin(&context.broker, topic, index, offset));
                (topic.clone(), deletions.collect())
            })
            .collect();
        let mut topics = Vec::with_capacity(deleted.len());
        for (name, deletions) in deleted {
            let mut partitions = Vec::with_capacity(deletions.len());
            for deletion in deletions {
                partitions.push(deletion.finish(deadline).await);
            }
            topics.push(DeleteRecordsTopicResult {
                name,
                partitions,
                ..Default::default()
            });
        }
        DeleteRecordsResponse {
            topics,
            ..Default::default()
        }
    }
}

/// The offset of each partition. As in Apache Kafka the last one counts of a partition that is named again: each costs a
/// lock of the log and a wait.
fn wanted(topics: &[DeleteRecordsTopic]) -> BTreeMap<&ByteStr, BTreeMap<i32, i64>> {
    let mut wanted: BTreeMap<&ByteStr, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in topics {
        let offsets = topic.partitions.iter().map(|it| (it.partition_index, it.offset));
        wanted.entry(&topic.name).or_default().extend(offsets);
    }
    wanted
}

/// What was begun for one partition.
struct Deletion {
    index: i32,
    begun: Result<(Arc<Partition>, Offset), ErrorCode>,
}

impl Deletion {
    fn begin(broker: &Broker, topic: &str, index: i32, offset: i64) -> Self {
        Self {
            index,
            begun: delete(broker, topic, index, offset),
        }
    }

    async fn finish(self, deadline: Instant) -> DeleteRecordsPartitionResult {
        let deleted = match self.begun {
            Ok((partition, offset)) => deleted_everywhere(&partition, offset, deadline).await,
            Err(error) => Err(error),
        };
        DeleteRecordsPartitionResult {
            partition_index: self.index,
            low_watermark: deleted.map_or(NO_LOW_WATERMARK, Offset::get),
            error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
            ..Default::default()
        }
    }
}

/// Waits until no live replica has records below `offset`: where the records of all of them start now (rule 100).
async fn deleted_everywhere(partition: &Partition, offset: Offset, deadline: Instant) -> Result<Offset, ErrorCode> {
    loop {
        let guard = WaiterGuard::new();
        let low = partition.low_watermark(offset, Some(guard.waiter()))?;
        if low >= offset {
            return Ok(low);
        }
        if tokio::time::timeout_at(deadline, guard.waiter().woken()).await.is_err() {
            return Err(ErrorCode::RequestTimedOut);
        }
    }
}

/// Moves the log start here; an offset below it changes nothing. Also what has to be reached everywhere.
fn delete(broker: &Broker, topic: &str, index: i32, offset: i64) -> Result<(Arc<Partition>, Offset), ErrorCode> {
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
    let offset = partition.delete_records(offset)?;
    Ok((partition, offset))
}
