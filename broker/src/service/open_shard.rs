//! OpenShard: the first step of a take-over.

use std::time::Duration;

use highwater_proto::grpc::{OpenShardRequest, OpenShardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{CoordinatorEpoch, Revision, ShardId};
use tokio::time::Instant;
use tonic::Status;

use super::{Service, code, shard_of};

/// How long a broker waits for its image to have the assignment that the caller acts on.
const IMAGE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn handle(service: &Service, request: OpenShardRequest) -> Result<OpenShardResponse, Status> {
    let shard = shard_of(request.shard)?;
    let epoch = CoordinatorEpoch(request.coordinator_epoch);
    let broker = &service.broker;
    let revision = Revision(request.image_revision);
    broker.wait_for_image(revision, Instant::now() + IMAGE_TIMEOUT).await;
    let opened = if broker.image().revision < revision {
        Err(ErrorCode::CoordinatorLoadInProgress)
    } else {
        has_assignment(&broker.image(), shard, epoch)
            .and_then(|()| service.partition(shard))
            .and_then(|partition| partition.open_shard(epoch))
    };
    Ok(match opened {
        Ok(opened) => OpenShardResponse {
            error: 0,
            leader_epoch: opened.leader_epoch.get(),
            log_start: opened.log_start.get(),
            log_end: opened.log_end.get(),
            high_watermark: opened.high_watermark.get(),
        },
        Err(error) => OpenShardResponse {
            error: code(error),
            ..OpenShardResponse::default()
        },
    })
}

/// An epoch fences all before it, so it has to be one that was given.
fn has_assignment(image: &MetadataImage, shard: ShardId, epoch: CoordinatorEpoch) -> Result<(), ErrorCode> {
    match image.shards.get(&shard) {
        Some(assignment) if assignment.epoch == epoch => Ok(()),
        Some(assignment) if assignment.epoch > epoch => Err(ErrorCode::NotCoordinator),
        _ => Err(ErrorCode::CoordinatorLoadInProgress),
    }
}
