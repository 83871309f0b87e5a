//! Rebalance: replicas and leaders are evened out over the brokers, some at a time; asked again it tells what is left.

use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::{Refusal, WantRebalance};
use crate::service::Shared;
use crate::service::admin::count;
use crate::service::balancer;
use crate::service::rpc::outcome;

pub(super) async fn handle(
    shared: &Shared,
    request: &grpc::RebalanceRequest,
) -> Result<grpc::RebalanceResponse, Status> {
    let mut image = shared.updates.image();
    if request.cancel || !request.dry_run {
        let wanted = !request.cancel;
        image = shared.decided(WantRebalance { wanted }).await?.image;
    }
    let plan = balancer::make_plan(&image, true).await;
    let (copies, orders): (Vec<_>, Vec<_>) = plan.moves.iter().partition(|planned| !planned.copies.is_empty());
    let partitions = image.topics().flat_map(|topic| &topic.partitions);
    let reassigning = partitions.filter(|partition| partition.is_reassigning()).count();
    Ok(grpc::RebalanceResponse {
        outcome: outcome(&Ok::<_, Refusal>(())),
        replica_moves: count(copies.len() + reassigning),
        leader_moves: count(orders.len()),
        reassigning_partitions: count(reassigning),
        revision: image.revision.get(),
    })
}
