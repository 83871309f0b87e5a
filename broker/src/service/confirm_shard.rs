//! ConfirmShard: says to a shard's owner that it still is, so that it may answer from memory.

use highwater_proto::grpc::{ConfirmShardRequest, ConfirmShardResponse};
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch};
use tonic::Status;

use super::{Service, code, shard_of};

pub(super) fn handle(service: &Service, request: ConfirmShardRequest) -> Result<ConfirmShardResponse, Status> {
    let shard = shard_of(request.shard)?;
    let epoch = CoordinatorEpoch(request.coordinator_epoch);
    let confirmed = service
        .check_assignment(shard, epoch)
        .and_then(|()| service.partition(shard))
        .and_then(|partition| partition.confirm_shard(epoch, LeaderEpoch(request.leader_epoch)));
    Ok(ConfirmShardResponse {
        error: confirmed.err().map_or(0, code),
    })
}
