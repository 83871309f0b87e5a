//! ReleaseTopic: a topic is nobody's from now on.

use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::owned_topic::ReleaseTopic;
use crate::service::Shared;
use crate::service::admin::on_topic;

pub(super) async fn handle(shared: &Shared, request: grpc::OwnedTopic) -> Result<grpc::AdminResponse, Status> {
    on_topic(shared, &request.topic_id, request.owner, ReleaseTopic).await
}
