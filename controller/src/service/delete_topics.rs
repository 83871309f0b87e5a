//! DeleteTopics.

use grpc::delete_topics_request::Target;
use grpc::delete_topics_response::Result as WireResult;
use highwater_proto::grpc;
use highwater_proto::metadata::convert;
use highwater_proto::types::TopicId;
use tonic::Status;

use crate::cluster::{DeleteTopics, TopicTarget};
use crate::service::Shared;
use crate::service::rpc::{malformed, outcome};

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::DeleteTopicsRequest,
) -> Result<grpc::DeleteTopicsResponse, Status> {
    let targets = request.targets.into_iter().map(target).collect::<Result<_, Status>>()?;
    let decided = shared.decided(DeleteTopics { targets }).await?;
    let results = decided.reply.into_iter().map(|deleted| WireResult {
        outcome: outcome(&deleted.result),
        name: deleted.name,
        topic_id: convert::uuid_bytes(deleted.topic_id.0),
    });
    Ok(grpc::DeleteTopicsResponse {
        results: results.collect(),
        revision: decided.image.revision.get(),
    })
}

fn target(target: Target) -> Result<TopicTarget, Status> {
    let topic_id = match target.topic_id.is_empty() {
        true => TopicId::ZERO,
        false => convert::topic_id(&target.topic_id).map_err(malformed)?,
    };
    Ok(TopicTarget {
        name: target.name,
        topic_id,
    })
}
