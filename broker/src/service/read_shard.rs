//! ReadShard: the log of a shard, for its owner to replay.

use bytes::Bytes;
use highwater_proto::grpc::{ReadShardRequest, ReadShardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::Batches;
use highwater_proto::types::{LeaderEpoch, Offset};
use tonic::Status;

use super::{Service, code, shard_of};
use crate::partition::{Isolation, ReadRequest};

/// Most bytes of one answer, but for a single batch that is larger.
const MAX_BYTES: u64 = 4 << 20;

pub(super) async fn handle(service: &Service, request: ReadShardRequest) -> Result<ReadShardResponse, Status> {
    Ok(match read(service, &request).await? {
        Ok(response) => response,
        Err(error) => ReadShardResponse {
            error: code(error),
            ..ReadShardResponse::default()
        },
    })
}

async fn read(service: &Service, request: &ReadShardRequest) -> Result<Result<ReadShardResponse, ErrorCode>, Status> {
    let shard = shard_of(request.shard)?;
    let partition = match service.partition(shard) {
        Ok(partition) => partition,
        Err(error) => return Ok(Err(error)),
    };
    let wanted = ReadRequest {
        known_high_watermark: None,
        leader_only: true,
        current_leader_epoch: Some(LeaderEpoch(request.leader_epoch)),
        offset: Offset(request.offset),
        last_fetched_epoch: None,
        max_bytes: u64::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES),
        at_least_one: true,
        isolation: Isolation::LogEnd,
        follower: None,
    };
    // Replay reads what may be cold: off the network workers, and not all shards of a new owner at once.
    let _permit = service.broker.limits().cold_reads.acquire().await;
    let reading = tokio::task::spawn_blocking(move || {
        let before = partition.ends().ok_or(ErrorCode::KafkaStorageError)?;
        let outcome = partition.read(&wanted, None)?;
        let ends = partition.ends().ok_or(ErrorCode::KafkaStorageError)?;
        let batches = match &outcome.records {
            Some(records) => records.to_bytes().map_err(|error| {
                tracing::warn!(%error, "the log of a shard cannot be read; its coordinator will try again");
                ErrorCode::KafkaStorageError
            })?,
            None => Bytes::new(),
        };
        let next = match Batches::new(batches.clone()).filter_map(Result::ok).last() {
            Some(last) => last.header.last_offset().plus(1),
            // Compaction left nothing from here to where the log ended.
            None => wanted.offset.max(before.log_end),
        };
        Ok(ReadShardResponse {
            error: 0,
            next_offset: next.get(),
            batches,
            log_end: ends.log_end.get(),
            high_watermark: outcome.high_watermark.get(),
        })
    });
    reading.await.map_err(|_| Status::unavailable("the broker is stopping"))
}
