//! PartitionEnds: where partitions end and how old a record is, for consumer lag.

use std::sync::Arc;

use highwater_proto::grpc::partition_ends_request::Query;
use highwater_proto::grpc::partition_ends_response::End;
use highwater_proto::grpc::{PartitionEndsRequest, PartitionEndsResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{Offset, PartitionIndex, TopicId};
use tonic::Status;
use uuid::Uuid;

use super::{Service, code};
use crate::partitions::Partitions;

/// Most partitions of one question.
const MAX_QUERIES: usize = 10_000;

pub(super) async fn handle(service: &Service, request: PartitionEndsRequest) -> Result<PartitionEndsResponse, Status> {
    if request.queries.len() > MAX_QUERIES {
        return Err(Status::invalid_argument(format!(
            "more than {MAX_QUERIES} partitions in one question"
        )));
    }
    let partitions = Arc::clone(service.broker.partitions());
    // A timestamp may have to be read from disk: off the network workers, and not without bound.
    let _permit = service.broker.limits().cold_reads.acquire().await;
    let reading =
        tokio::task::spawn_blocking(move || request.queries.iter().map(|query| end_of(&partitions, query)).collect());
    let ends = reading
        .await
        .map_err(|_| Status::unavailable("the broker is stopping"))?;
    Ok(PartitionEndsResponse { ends })
}

fn end_of(partitions: &Partitions, query: &Query) -> End {
    find(partitions, query).unwrap_or_else(|error| End {
        error: code(error),
        ..End::default()
    })
}

fn find(partitions: &Partitions, query: &Query) -> Result<End, ErrorCode> {
    let topic = Uuid::from_slice(&query.topic_id).map_err(|_| ErrorCode::UnknownTopicId)?;
    let partition = partitions
        .get(TopicId(topic), PartitionIndex(query.partition))
        .filter(|partition| partition.is_leader())
        .ok_or(ErrorCode::NotLeaderOrFollower)?;
    let ends = partition.ends().ok_or(ErrorCode::KafkaStorageError)?;
    // An offset at the end has no record yet; one below the start is gone, and the oldest record stands for it.
    let wanted = query
        .timestamp_at_offset
        .map(|offset| Offset(offset).max(ends.log_start));
    let timestamp = match wanted.filter(|offset| *offset < ends.high_watermark) {
        Some(offset) => partition.timestamp_at(offset)?,
        None => None,
    };
    Ok(End {
        error: 0,
        log_start: ends.log_start.get(),
        high_watermark: ends.high_watermark.get(),
        timestamp_ms: timestamp.map(|timestamp| timestamp.get()),
    })
}
