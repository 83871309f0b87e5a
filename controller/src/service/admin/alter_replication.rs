//! AlterReplication: another replication factor; the answer says how much is on its way.

use highwater_proto::grpc;
use highwater_proto::metadata::convert;
use tonic::Status;

use crate::cluster::AlterReplication;
use crate::service::Shared;
use crate::service::admin::{count, on_topic};
use crate::service::rpc::malformed;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AlterReplicationRequest,
) -> Result<grpc::AlterReplicationResponse, Status> {
    let task = AlterReplication {
        replication_factor: request.replication_factor,
    };
    let topic_id = convert::topic_id(&request.topic_id).map_err(malformed)?;
    let answer = on_topic(shared, &request.topic_id, request.owner, task).await?;
    let image = shared.updates.image();
    let partitions = image
        .topic_by_id(topic_id)
        .into_iter()
        .flat_map(|topic| &topic.partitions);
    Ok(grpc::AlterReplicationResponse {
        outcome: answer.outcome,
        revision: answer.revision,
        reassigning_partitions: count(partitions.filter(|partition| partition.is_reassigning()).count()),
    })
}
