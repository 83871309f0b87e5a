//! ConfirmShard: says to a shard's owner that it still is, so that it may answer from memory.
//!
//! This broker may have been replaced as leader without knowing it, and the shard's owner with it. So its word is not
//! enough: the followers have to say that they know no later leader, each asked after the request came in (decision
//! 0009).

use highwater_proto::grpc::{ConfirmShardRequest, ConfirmShardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, ShardId};
use tonic::Status;

use super::{Service, code, shard_of};

pub(super) async fn handle(service: &Service, request: ConfirmShardRequest) -> Result<ConfirmShardResponse, Status> {
    let shard = shard_of(request.shard)?;
    let coordinator_epoch = CoordinatorEpoch(request.coordinator_epoch);
    let confirmed = confirm(service, shard, coordinator_epoch, LeaderEpoch(request.leader_epoch)).await;
    Ok(ConfirmShardResponse {
        error: confirmed.err().map_or(0, code),
    })
}

async fn confirm(
    service: &Service,
    shard: ShardId,
    coordinator_epoch: CoordinatorEpoch,
    leader_epoch: LeaderEpoch,
) -> Result<(), ErrorCode> {
    let witnesses = service
        .check_assignment(shard, coordinator_epoch)
        .and_then(|()| service.partition(shard))
        .and_then(|partition| partition.confirm_shard(coordinator_epoch, leader_epoch))?;
    service.ask_witnesses(shard, leader_epoch, &witnesses).await
}
