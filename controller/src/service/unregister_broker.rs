//! UnregisterBroker: a broker is forgotten. One that runs marks its data directory, so that what is on the disk counts for
//! nothing should it be used again, and ends.

use std::time::Duration;

use highwater_proto::grpc;
use highwater_proto::grpc::session_response::{Response as Answer, Retire};
use highwater_proto::types::{BrokerEpoch, NodeId};
use tonic::Status;

use crate::cluster::UnregisterNode;
use crate::service::Shared;
use crate::service::questions::ask;
use crate::service::rpc::outcome;

/// How long a broker that runs may take to mark its directory.
const MARK_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::UnregisterBrokerRequest,
) -> Result<grpc::UnregisterBrokerResponse, Status> {
    let node = NodeId(request.broker_id);
    let epoch = request.epoch.map(BrokerEpoch);
    let decided = shared.decided(UnregisterNode { node, epoch }).await?;
    let mut outcome = outcome(&decided.reply);
    if let Ok(gone) = &decided.reply {
        // It does not come back, also if its session breaks now.
        shared.sessions.supersede(gone.incarnation);
        if shared.sessions.has_stream(node) {
            let marked = ask(shared, node, MARK_WAIT, |question| Answer::Retire(Retire { question })).await;
            if marked.is_none()
                && let Some(outcome) = &mut outcome
            {
                let message = format!("Broker {node} is unregistered, but did not mark its data directory.");
                tracing::warn!(%node, "an unregistered broker did not mark its data directory");
                outcome.message = Some(message);
            }
        }
        shared.sessions.unregistered(node, gone.epoch, gone.incarnation);
        tracing::info!(%node, "a broker was unregistered");
    }
    Ok(grpc::UnregisterBrokerResponse {
        outcome,
        revision: decided.image.revision.get(),
    })
}
