//! DeleteTopic, by id and owner: a later topic of the same name is never meant.

use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::owned_topic::DeleteTopic;
use crate::service::Shared;
use crate::service::admin::on_topic;

pub(super) async fn handle(shared: &Shared, request: grpc::DeleteTopicRequest) -> Result<grpc::AdminResponse, Status> {
    on_topic(shared, &request.topic_id, request.owner, DeleteTopic).await
}
