//! AppendShard: the batches of a shard's owner, answered once they are below the high watermark.

use std::sync::Arc;

use bytes::Bytes;
use highwater_node::telemetry::Trace;
use highwater_proto::grpc::{AppendShardRequest, AppendShardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::{Batch, Batches};
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset};
use tokio::time::timeout_at;
use tonic::Status;

use super::{Service, code, deadline, decided, shard_of};
use crate::partition::{AckGroup, AppendOutcome, Partition, Precheck};

/// Most bytes of one append; owners send a quarter of it, but for a single batch that is larger.
const MAX_BYTES: usize = 16 << 20;

pub(super) async fn handle(service: &Service, request: AppendShardRequest) -> Result<AppendShardResponse, Status> {
    Ok(match append(service, request).await? {
        Ok((partition, appended)) => AppendShardResponse {
            error: 0,
            base_offset: appended.base_offset.get(),
            end_offset: appended.end_offset.get(),
            high_watermark: partition
                .ends()
                .map_or(appended.end_offset, |ends| ends.high_watermark)
                .get(),
        },
        Err(error) => AppendShardResponse {
            error: code(error),
            ..AppendShardResponse::default()
        },
    })
}

type Outcome = Result<(Arc<Partition>, AppendOutcome), ErrorCode>;

async fn append(service: &Service, request: AppendShardRequest) -> Result<Outcome, Status> {
    let shard = shard_of(request.shard)?;
    let deadline = deadline(request.timeout_ms);
    let size = request.batches.len();
    let batches = parse(&request.batches)?;
    let coordinator_epoch = CoordinatorEpoch(request.coordinator_epoch);
    let found = service
        .check_assignment(shard, coordinator_epoch)
        .and_then(|()| service.partition(shard));
    let partition = match found {
        Ok(partition) => partition,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = check_sizes(&partition, size, &batches) {
        return Ok(Err(error));
    }
    let acks = AckGroup::new();
    let newest = batches.iter().map(|batch| batch.header.max_timestamp).max();
    let now = service.broker.clock().now_ms();
    let precheck = partition.precheck_append(true, size, newest.unwrap_or(now), now);
    let step = {
        let (partition, acks) = (Arc::clone(&partition), Arc::clone(&acks));
        let leader_epoch = LeaderEpoch(request.leader_epoch);
        let expected_end = Offset(request.expected_end);
        move || partition.append_shard(coordinator_epoch, leader_epoch, expected_end, &batches, &acks, now)
    };
    let appended = match precheck {
        Ok(Precheck::Quick) if !service.broker.partitions().is_disk_stalled() => step(),
        // Creating files, and writing to a disk that stalls, may take as long as the disk likes.
        Ok(_) => {
            let permits = Arc::clone(&service.broker.limits().slow_appends);
            match timeout_at(deadline, permits.acquire_owned()).await {
                Ok(permit) => {
                    let appended = tokio::task::spawn_blocking(step).await;
                    drop(permit);
                    appended.map_err(|_| Status::unavailable("the broker is stopping"))?
                }
                Err(_) => Err(ErrorCode::RequestTimedOut.into()),
            }
        }
        Err(error) => Err(error),
    };
    if let (Some(trace), Ok(appended)) = (Trace::current(), &appended) {
        partition.trace_append(&trace, appended.end_offset);
    }
    Ok(match appended {
        Ok(appended) => decided(&acks, deadline).await.map(|()| (partition, appended)),
        Err(error) => Err(error.code),
    })
}

/// Bounds what one append brings, as Produce does.
fn check_sizes(partition: &Partition, size: usize, batches: &[Batch]) -> Result<(), ErrorCode> {
    let limit = partition.topic().settings().rules.max_message_bytes;
    if size > MAX_BYTES || batches.iter().any(|batch| batch.size() > limit) {
        return Err(ErrorCode::MessageTooLarge);
    }
    Ok(())
}

/// The batches of a message. What a coordinator sends is its own work, so anything but whole batches is a defect.
fn parse(bytes: &Bytes) -> Result<Vec<Batch>, Status> {
    let mut batches = Batches::new(bytes.clone());
    let parsed = batches.by_ref().collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|error| Status::invalid_argument(format!("not a record batch: {error}")))?;
    if parsed.is_empty() || !batches.rest().is_empty() {
        return Err(Status::invalid_argument("the batches are empty or cut short"));
    }
    match parsed.iter().all(Batch::verify_crc) {
        true => Ok(parsed),
        false => Err(Status::invalid_argument("a record batch was damaged on the way")),
    }
}
