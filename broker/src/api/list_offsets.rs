//! ListOffsets (2): the ends of partitions, and offsets by time.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use highwater_proto::kafka::messages::list_offsets::request::ListOffsetsPartition;
use highwater_proto::kafka::messages::list_offsets::response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use highwater_proto::kafka::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::{LeaderEpoch, TimestampMs};

use super::{Api, RequestContext};
use crate::partition::{FoundOffset, Isolation, LookupError, Partition};

/// Handler of ListOffsets.
pub(super) struct ListOffsets;

/// The end of what the reader may see.
const LATEST: i64 = -1;
/// The log start.
const EARLIEST: i64 = -2;
/// The first record with the largest timestamp.
const MAX_TIMESTAMP: i64 = -3;
/// The log start on this broker's disk: there is no other place.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in remote storage: there is none.
const LATEST_TIERED: i64 = -5;
/// Lowest version that knows each of them.
const MAX_TIMESTAMP_FROM: i16 = 7;
const EARLIEST_LOCAL_FROM: i16 = 8;
const LATEST_TIERED_FROM: i16 = 9;
/// From this version on a new leader answers `OFFSET_NOT_AVAILABLE`.
const NOT_AVAILABLE_FROM: i16 = 5;
/// `replica_id` of consumers.
const CONSUMER: i32 = -1;
/// `isolation_level` of consumers that skip what is not committed.
const READ_COMMITTED: i8 = 1;

impl Api for ListOffsets {
    type Request = ListOffsetsRequest;
    const VERSIONS: RangeInclusive<i16> = 1..=10;

    async fn handle(context: &RequestContext, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let isolation = match (request.replica_id, request.isolation_level) {
            (CONSUMER, READ_COMMITTED) => Isolation::ReadCommitted,
            (CONSUMER, _) => Isolation::ReadUncommitted,
            _ => Isolation::LogEnd,
        };
        let (broker, image) = (&context.broker, context.broker.image());
        let repeated = repeated(&request);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let known = image.topic(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in topic.partitions {
                let found = if repeated.contains(&(topic.name.clone(), wanted.partition_index)) {
                    Err(LookupError::Refused(ErrorCode::InvalidRequest))
                } else if !is_known(wanted.timestamp, version) {
                    Err(LookupError::Refused(ErrorCode::UnsupportedVersion))
                } else {
                    match known.ok_or(ErrorCode::UnknownTopicOrPartition) {
                        Err(error) => Err(error.into()),
                        Ok(topic) => match broker.partitions().find(topic, wanted.partition_index) {
                            Err(error) => Err(error.into()),
                            Ok(partition) => look_up(context, partition, &wanted, isolation).await,
                        },
                    }
                };
                partitions.push(response(&wanted, version, found));
            }
            topics.push(ListOffsetsTopicResponse {
                name: topic.name,
                partitions,
                ..Default::default()
            });
        }
        ListOffsetsResponse {
            topics,
            ..Default::default()
        }
    }
}

/// Partitions that are asked for more than once: what is meant cannot be told.
fn repeated(request: &ListOffsetsRequest) -> HashSet<(ByteStr, i32)> {
    let partitions = request.topics.iter().flat_map(|topic| {
        let indexes = topic.partitions.iter().map(|wanted| wanted.partition_index);
        indexes.map(|index| (&topic.name, index))
    });
    let mut seen = HashSet::new();
    partitions
        .filter(|partition| !seen.insert(*partition))
        .map(|(name, index)| (name.clone(), index))
        .collect()
}

fn is_known(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= MAX_TIMESTAMP_FROM,
        EARLIEST_LOCAL => version >= EARLIEST_LOCAL_FROM,
        LATEST_TIERED => version >= LATEST_TIERED_FROM,
        _ => false,
    }
}

async fn look_up(
    context: &RequestContext,
    partition: Arc<Partition>,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Option<FoundOffset>, LookupError> {
    let epoch = (wanted.current_leader_epoch >= 0).then_some(LeaderEpoch(wanted.current_leader_epoch));
    let by_time = match wanted.timestamp {
        LATEST => return partition.latest_offset(epoch, isolation).map(Some),
        EARLIEST | EARLIEST_LOCAL => return partition.earliest_offset(epoch).map(Some),
        LATEST_TIERED => return partition.earliest_offset(epoch).map(|_| None),
        MAX_TIMESTAMP => None,
        timestamp => Some(TimestampMs(timestamp)),
    };
    // Records have to be read, by few at a time.
    let _permit = context.broker.limits().cold_reads.acquire().await;
    let lookup = tokio::task::spawn_blocking(move || partition.offset_by_time(epoch, by_time, isolation));
    lookup
        .await
        .unwrap_or(Err(LookupError::Refused(ErrorCode::UnknownServerError)))
}

fn response(
    wanted: &ListOffsetsPartition,
    version: i16,
    found: Result<Option<FoundOffset>, LookupError>,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse {
        partition_index: wanted.partition_index,
        ..Default::default()
    };
    match found {
        Ok(None) => {}
        Ok(Some(found)) => {
            response.offset = found.offset.get();
            response.timestamp = found.timestamp.map_or(-1, |timestamp| timestamp.get());
            if version >= 4 {
                response.leader_epoch = found.leader_epoch.map_or(-1, |epoch| epoch.get());
            }
        }
        Err(LookupError::NotAvailable) if version >= NOT_AVAILABLE_FROM => {
            response.error_code = ErrorCode::OffsetNotAvailable.code();
        }
        Err(LookupError::NotAvailable) => response.error_code = ErrorCode::LeaderNotAvailable.code(),
        Err(LookupError::Refused(error)) => response.error_code = error.code(),
    }
    response
}
