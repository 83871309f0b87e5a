//! AlterConfigs of one topic: what is neither set nor unset stays.

use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::owned_topic::ConfigureTopic;
use crate::service::Shared;
use crate::service::admin::on_topic;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AlterTopicConfigsRequest,
) -> Result<grpc::AdminResponse, Status> {
    let task = ConfigureTopic {
        set: request.set.into_iter().collect(),
        unset: request.unset,
    };
    on_topic(shared, &request.topic_id, request.owner, task).await
}
