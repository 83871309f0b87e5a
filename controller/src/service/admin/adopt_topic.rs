//! AdoptTopic: a topic that nobody owns gets an owner.

use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::owned_topic::AdoptTopic;
use crate::service::Shared;
use crate::service::admin::on_topic;

pub(super) async fn handle(shared: &Shared, request: grpc::OwnedTopic) -> Result<grpc::AdminResponse, Status> {
    on_topic(shared, &request.topic_id, request.owner, AdoptTopic).await
}
