//! Rebalance: replicas, bytes and leaders are evened out over the brokers, some at a time; asked again it tells what is
//! left.

use highwater_proto::grpc;
use highwater_proto::metadata::convert;
use highwater_proto::types::NodeId;
use tonic::Status;

use crate::cluster::WantRebalance;
use crate::service::admin::count;
use crate::service::replica_sizes::{self, Shrinking};
use crate::service::rpc::outcome;
use crate::service::{Shared, balancer};

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::RebalanceRequest,
) -> Result<grpc::RebalanceResponse, Status> {
    let onto: Vec<NodeId> = request.node_ids.into_iter().map(NodeId).collect();
    let mut image = shared.updates.image();
    let wish = if request.cancel {
        Some(WantRebalance::Cancel)
    } else {
        (!request.dry_run).then(|| WantRebalance::Begin {
            onto: onto.clone(),
            throttle: convert::byte_rate(request.throttle_bytes_per_second),
        })
    };
    let mut decided = Ok(());
    if let Some(wish) = wish {
        let done = shared.decided(wish).await?;
        (decided, image) = (done.reply, done.image);
    }
    let sizes = replica_sizes::gather(shared, replica_sizes::FOR_STATUS).await;
    let (plan, _) = balancer::make_plan(&image, sizes.clone(), true, onto).await;
    let (copies, orders): (Vec<_>, Vec<_>) = plan.moves.iter().partition(|planned| !planned.copies.is_empty());
    let partitions = image.topics().flat_map(|topic| &topic.partitions);
    let reassigning = partitions.filter(|partition| partition.is_reassigning()).count();
    let bytes = sizes.to_move(&image, &plan.moves);
    Ok(grpc::RebalanceResponse {
        outcome: outcome(&decided),
        replica_moves: count(copies.len() + reassigning),
        leader_moves: count(orders.len()),
        reassigning_partitions: count(reassigning),
        revision: image.revision.get(),
        bytes_remaining: replica_sizes::wire(bytes),
        eta_seconds: shared
            .sizes
            .eta_seconds(Shrinking::Rebalance, shared.clock.now(), bytes),
    })
}
