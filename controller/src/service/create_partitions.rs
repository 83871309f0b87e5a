//! CreatePartitions.

use grpc::create_partitions_request::TopicGrowth as WireGrowth;
use grpc::create_partitions_response::Result as WireResult;
use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::{CreatePartitions, TopicGrowth};
use crate::service::Shared;
use crate::service::create_topics::assignments;
use crate::service::rpc::outcome;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::CreatePartitionsRequest,
) -> Result<grpc::CreatePartitionsResponse, Status> {
    let growth = |growth: WireGrowth| TopicGrowth {
        name: growth.name,
        count: growth.count,
        assignments: growth.has_assignments.then(|| assignments(growth.assignments)),
    };
    let command = CreatePartitions {
        topics: request.topics.into_iter().map(growth).collect(),
        validate_only: request.validate_only,
    };
    let decided = shared.decided(command).await?;
    let results = decided.reply.into_iter().map(|grown| WireResult {
        outcome: outcome(&grown.result),
        name: grown.name,
    });
    Ok(grpc::CreatePartitionsResponse {
        results: results.collect(),
        revision: decided.image.revision.get(),
    })
}
