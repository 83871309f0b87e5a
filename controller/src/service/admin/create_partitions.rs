//! CreatePartitions, if there are as many as the caller thinks.

use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::owned_topic::GrowTopic;
use crate::service::Shared;
use crate::service::admin::on_topic;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AddPartitionsRequest,
) -> Result<grpc::AdminResponse, Status> {
    let task = GrowTopic {
        expected: request.expected,
        count: request.count,
    };
    on_topic(shared, &request.topic_id, request.owner, task).await
}
