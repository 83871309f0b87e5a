//! AwaitHighWatermark: a bounded wait until an offset is committed.

use highwater_proto::grpc::{AwaitHighWatermarkRequest, AwaitHighWatermarkResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, Offset};
use tonic::Status;

use super::{Service, code, deadline, decided, shard_of};
use crate::partition::AckGroup;

pub(super) async fn handle(
    service: &Service,
    request: AwaitHighWatermarkRequest,
) -> Result<AwaitHighWatermarkResponse, Status> {
    Ok(match wait(service, &request).await? {
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

async fn wait(service: &Service, request: &AwaitHighWatermarkRequest) -> Result<Result<Offset, ErrorCode>, Status> {
    let shard = shard_of(request.shard)?;
    let partition = match service.partition(shard) {
        Ok(partition) => partition,
        Err(error) => return Ok(Err(error)),
    };
    let acks = AckGroup::new();
    let offset = Offset(request.offset);
    if let Err(error) = partition.await_high_watermark(LeaderEpoch(request.leader_epoch), offset, &acks) {
        return Ok(Err(error));
    }
    if let Err(error) = decided(&acks, deadline(request.timeout_ms)).await {
        return Ok(Err(error));
    }
    Ok(partition
        .ends()
        .map(|ends| ends.high_watermark)
        .ok_or(ErrorCode::KafkaStorageError))
}
