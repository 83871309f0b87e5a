//! CreateTopic, with an owner. A topic that is there with this id and this owner is the one that was asked for.

use highwater_proto::grpc;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::convert;
use highwater_proto::types::TopicId;
use tonic::Status;

use crate::cluster::{CreatableTopic, CreateTopics, Refusal};
use crate::service::Shared;
use crate::service::admin::owner;
use crate::service::create_topics::new_topic_id;
use crate::service::rpc::{malformed, outcome};

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::CreateTopicRequest,
) -> Result<grpc::CreateTopicResponse, Status> {
    let topic_id = match request.topic_id.is_empty() {
        true => new_topic_id(),
        false => convert::topic_id(&request.topic_id).map_err(malformed)?,
    };
    let topic = CreatableTopic {
        name: request.name,
        partitions: request.partitions,
        replication_factor: request.replication_factor,
        assignments: Vec::new(),
        configs: request
            .configs
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect(),
        topic_id,
        owner: owner(request.owner),
    };
    let wanted = topic.owner.clone();
    let create = CreateTopics {
        topics: vec![topic],
        validate_only: false,
    };
    let decided = shared.decided(create).await?;
    let mut created = decided.reply.into_iter();
    let result = created.next().map_or_else(
        || Err(Refusal::new(ErrorCode::UnknownServerError, "no topic was asked for")),
        |created| created.result.map(|shape| shape.topic_id),
    );
    let result = result.and_then(|topic_id| {
        let owner = decided
            .image
            .topic_by_id(topic_id)
            .and_then(|topic| topic.owner.clone());
        match owner == wanted {
            true => Ok(topic_id),
            false => Err(Refusal::new(
                ErrorCode::PolicyViolation,
                "The topic belongs to another.",
            )),
        }
    });
    Ok(grpc::CreateTopicResponse {
        outcome: outcome(&result),
        topic_id: convert::uuid_bytes(result.unwrap_or(TopicId::ZERO).0),
        revision: decided.image.revision.get(),
    })
}
