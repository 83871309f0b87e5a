//! UnregisterBroker: the broker is forgotten, and its process, should it still run, is told so.

use highwater_proto::grpc;
use highwater_proto::types::{BrokerEpoch, NodeId};
use tonic::Status;

use crate::cluster::UnregisterNode;
use crate::service::Shared;
use crate::service::rpc::outcome;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::UnregisterBrokerRequest,
) -> Result<grpc::UnregisterBrokerResponse, Status> {
    let node = NodeId(request.broker_id);
    let epoch = request.epoch.map(BrokerEpoch);
    let decided = shared.decided(UnregisterNode { node, epoch }).await?;
    if let Ok(gone) = &decided.reply {
        shared.sessions.unregistered(node, gone.epoch, gone.incarnation);
        tracing::info!(%node, "a broker was unregistered");
    }
    Ok(grpc::UnregisterBrokerResponse {
        outcome: outcome(&decided.reply),
        revision: decided.image.revision.get(),
    })
}
