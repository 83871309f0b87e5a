//! Cordon, Uncordon, Decommission, Recommission.

use highwater_proto::grpc;
use highwater_proto::types::NodeId;
use tonic::Status;

use crate::cluster::{DutyChange, SetNodeDuty};
use crate::service::Shared;
use crate::service::admin::answer;

pub(super) async fn handle(
    shared: &Shared,
    node_ids: Vec<i32>,
    change: DutyChange,
) -> Result<grpc::AdminResponse, Status> {
    let nodes = node_ids.into_iter().map(NodeId).collect();
    let decided = shared.decided(SetNodeDuty { nodes, change }).await?;
    if decided.reply.is_ok() {
        tracing::info!(?change, "the duty of nodes was set");
    }
    Ok(answer(&decided.reply, decided.image.revision.get()))
}
