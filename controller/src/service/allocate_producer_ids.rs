//! AllocateProducerIds.

use highwater_proto::grpc;
use highwater_proto::types::{BrokerEpoch, NodeId};
use tonic::Status;

use crate::cluster::AllocateProducerIds;
use crate::service::Shared;
use crate::service::rpc::outcome;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AllocateProducerIdsRequest,
) -> Result<grpc::AllocateProducerIdsResponse, Status> {
    let command = AllocateProducerIds {
        node: NodeId(request.broker_id),
        epoch: BrokerEpoch(request.broker_epoch),
    };
    let block = shared.decided(command).await?.reply;
    let outcome = outcome(&block);
    let (first, count) = block.map_or((-1, 0), |block| (block.first.get(), block.count));
    Ok(grpc::AllocateProducerIdsResponse { outcome, first, count })
}
