//! AwaitHighWatermark: a bounded wait until an offset is committed, by a leader that still leads.

use std::time::Duration;

use highwater_proto::grpc::{AwaitHighWatermarkRequest, AwaitHighWatermarkResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, Offset, ShardId};
use tokio::time::Instant;
use tonic::Status;

use super::{Service, code, deadline, decided, shard_of};
use crate::partition::AckGroup;

/// Pause before the followers are asked again.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn handle(
    service: &Service,
    request: AwaitHighWatermarkRequest,
) -> Result<AwaitHighWatermarkResponse, Status> {
    let shard = shard_of(request.shard)?;
    let deadline = deadline(request.timeout_ms);
    let (leader_epoch, offset) = (LeaderEpoch(request.leader_epoch), Offset(request.offset));
    let reached = loop {
        match wait(service, shard, leader_epoch, offset, deadline).await {
            // Too few replicas, or one does not answer: this ends, or another broker leads.
            Err(
                ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend | ErrorCode::RequestTimedOut,
            ) => {
                if Instant::now() + PAUSE >= deadline {
                    tokio::time::sleep_until(deadline).await;
                    break Err(ErrorCode::RequestTimedOut);
                }
                tokio::time::sleep(PAUSE).await;
            }
            reached => break reached,
        }
    };
    Ok(match reached {
        Ok(high_watermark) => AwaitHighWatermarkResponse {
            error: 0,
            high_watermark: high_watermark.get(),
        },
        Err(error) => AwaitHighWatermarkResponse {
            error: code(error),
            ..AwaitHighWatermarkResponse::default()
        },
    })
}

async fn wait(
    service: &Service,
    shard: ShardId,
    leader_epoch: LeaderEpoch,
    offset: Offset,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    let partition = service.partition(shard)?;
    let acks = AckGroup::new();
    partition.await_high_watermark(leader_epoch, offset, &acks)?;
    decided(&acks, deadline).await?;
    // A take-over at a leader that has been replaced would serve nobody: better it looks for the new one.
    let witnesses = partition.confirm_leader(leader_epoch)?;
    service.ask_witnesses(shard, leader_epoch, &witnesses).await?;
    let ends = partition.ends().ok_or(ErrorCode::KafkaStorageError)?;
    Ok(ends.high_watermark)
}
