//! DeleteTopics (20): passed to the controller, by name or by id.

use std::ops::RangeInclusive;

use bytes::Bytes;
use highwater_proto::grpc;
use highwater_proto::grpc::delete_topics_request::Target;
use highwater_proto::kafka::messages::delete_topics::response::DeletableTopicResult;
use highwater_proto::kafka::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::TopicId;
use uuid::Uuid;

use super::controller_call::{Controller, Refused, ask_again, code_and_text, deadline, done_before, outcome};
use super::{Api, RequestContext};

/// Handler of DeleteTopics.
pub(super) struct DeleteTopics;

/// First version that names topics by id too.
const WITH_IDS: i16 = 6;
/// First version that knows `TOPIC_DELETION_DISABLED`.
const WITH_DELETION_DISABLED: i16 = 3;

impl Api for DeleteTopics {
    type Request = DeleteTopicsRequest;
    const VERSIONS: RangeInclusive<i16> = 1..=6;

    async fn handle(context: &RequestContext, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let targets = targets(version, &request);
        // Should the first attempt have deleted a topic, somebody may have created another one of the name meanwhile.
        let image = context.broker.image();
        let by_id: Vec<Target> = targets.iter().map(|target| meant(&image, target)).collect();
        let call = |mut controller: Controller, maybe_done| {
            let targets = if maybe_done { by_id.clone() } else { targets.clone() };
            async move { controller.delete_topics(grpc::DeleteTopicsRequest { targets }).await }
        };
        let responses = match ask_again(&context.broker, deadline(request.timeout_ms), call).await {
            Ok((decided, maybe_done)) => decided
                .results
                .into_iter()
                .zip(targets)
                .map(|(result, target)| {
                    let known = image.topic_by_id(id(&result.topic_id)).is_some();
                    let gone = done_before(outcome(result.outcome), maybe_done && known, ErrorCode::UnknownTopicId);
                    row(version, result.name.or(target.name), &result.topic_id, gone)
                })
                .collect(),
            Err(refused) => targets
                .into_iter()
                .map(|target| row(version, target.name, &target.topic_id, Err(refused.clone())))
                .collect(),
        };
        DeleteTopicsResponse {
            responses,
            ..Default::default()
        }
    }
}

fn targets(version: i16, request: &DeleteTopicsRequest) -> Vec<Target> {
    if version < WITH_IDS {
        let by_name = |name: &ByteStr| Target {
            name: Some(name.to_string()),
            topic_id: Bytes::new(),
        };
        return request.topic_names.iter().map(by_name).collect();
    }
    let target = |topic: &highwater_proto::kafka::messages::delete_topics::request::DeleteTopicState| Target {
        name: topic.name.as_ref().map(ToString::to_string),
        topic_id: Bytes::copy_from_slice(topic.topic_id.as_bytes()),
    };
    request.topics.iter().map(target).collect()
}

/// The same topic by its id, if this broker knows it.
fn meant(image: &MetadataImage, target: &Target) -> Target {
    let known = target.name.as_deref().and_then(|name| image.topic(name));
    known.map_or_else(
        || target.clone(),
        |topic| Target {
            name: None,
            topic_id: Bytes::copy_from_slice(topic.id.0.as_bytes()),
        },
    )
}

fn id(bytes: &[u8]) -> TopicId {
    TopicId(Uuid::from_slice(bytes).unwrap_or_default())
}

fn row(version: i16, name: Option<String>, topic_id: &[u8], result: Result<(), Refused>) -> DeletableTopicResult {
    let (mut error_code, error_message) = code_and_text(&result);
    if version < WITH_DELETION_DISABLED && error_code == ErrorCode::TopicDeletionDisabled.code() {
        error_code = ErrorCode::InvalidRequest.code();
    }
    DeletableTopicResult {
        // Only an id that is not known has no name, and ids come with versions that allow none.
        name: if version < WITH_IDS {
            Some(name.unwrap_or_default().into())
        } else {
            name.map(ByteStr::from)
        },
        topic_id: id(topic_id).0,
        error_code,
        error_message,
        ..Default::default()
    }
}
