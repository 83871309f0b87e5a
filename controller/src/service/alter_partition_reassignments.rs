//! AlterPartitionReassignments.

use grpc::alter_partition_reassignments_request::Reassignment;
use grpc::alter_partition_reassignments_response::Result as WireResult;
use highwater_proto::grpc;
use highwater_proto::types::{NodeId, PartitionIndex};
use tonic::Status;

use crate::cluster::{AlterPartitionReassignments, PartitionReassignment};
use crate::service::Shared;
use crate::service::rpc::outcome;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AlterPartitionReassignmentsRequest,
) -> Result<grpc::AlterPartitionReassignmentsResponse, Status> {
    let reassignment = |asked: Reassignment| PartitionReassignment {
        topic: asked.topic,
        partition: PartitionIndex(asked.partition),
        target: asked
            .target
            .map(|target| target.replicas.into_iter().map(NodeId).collect()),
    };
    let command = AlterPartitionReassignments {
        partitions: request.reassignments.into_iter().map(reassignment).collect(),
        allow_replication_factor_change: request.allow_replication_factor_change,
    };
    let decided = shared.decided(command).await?;
    let results = decided.reply.into_iter().map(|reassigned| WireResult {
        outcome: outcome(&reassigned.result),
        topic: reassigned.topic,
        partition: reassigned.partition.get(),
    });
    Ok(grpc::AlterPartitionReassignmentsResponse {
        results: results.collect(),
        revision: decided.image.revision.get(),
    })
}
