//! CreateTopics (19): passed to the controller; the answer names all configs that hold for the new topic.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use highwater_proto::config::{BrokerLayers, describe_topic};
use highwater_proto::grpc;
use highwater_proto::grpc::create_topics_request as to_controller;
use highwater_proto::kafka::messages::create_topics::request::CreatableTopic;
use highwater_proto::kafka::messages::create_topics::response::{CreatableTopicConfigs, CreatableTopicResult};
use highwater_proto::kafka::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::TopicId;
use uuid::Uuid;

use super::controller_call::{Controller, Refused, ask, deadline, outcome};
use super::{Api, RequestContext};

/// Handler of CreateTopics.
pub(super) struct CreateTopics;

impl Api for CreateTopics {
    type Request = CreateTopicsRequest;
    const VERSIONS: RangeInclusive<i16> = 2..=7;

    async fn handle(context: &RequestContext, _: i16, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let broker = &context.broker;
        let asked = grpc::CreateTopicsRequest {
            topics: request.topics.iter().map(creatable).collect(),
            validate_only: request.validate_only,
        };
        let call = |mut controller: Controller| {
            let asked = asked.clone();
            async move { controller.create_topics(asked).await }
        };
        let topics = match ask(broker, deadline(request.timeout_ms), call).await {
            Ok(decided) => {
                let image = broker.image();
                let layers = BrokerLayers::of(&image, Some(broker.node_id()), broker.static_values());
                decided
                    .results
                    .into_iter()
                    .map(|result| created(result, &layers))
                    .collect()
            }
            Err(refused) => request
                .topics
                .iter()
                .map(|topic| failed(topic.name.clone(), &refused))
                .collect(),
        };
        CreateTopicsResponse {
            topics,
            ..Default::default()
        }
    }
}

fn creatable(topic: &CreatableTopic) -> to_controller::CreatableTopic {
    let assignments = topic.assignments.iter().map(|assignment| to_controller::Assignment {
        partition: assignment.partition_index,
        brokers: assignment.broker_ids.clone(),
    });
    let configs = topic.configs.iter().map(|config| grpc::ConfigEntry {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
    });
    to_controller::CreatableTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: i32::from(topic.replication_factor),
        assignments: assignments.collect(),
        configs: configs.collect(),
        topic_id: new_topic_id(),
    }
}

/// A random id whose text does not begin with a dash, which command lines would take for an option.
pub(super) fn new_topic_id() -> Bytes {
    loop {
        let id = TopicId(Uuid::new_v4());
        if !id.to_string().starts_with('-') {
            return Bytes::copy_from_slice(id.0.as_bytes());
        }
    }
}

fn created(result: grpc::create_topics_response::Result, layers: &BrokerLayers<'_>) -> CreatableTopicResult {
    let name = ByteStr::from(result.name);
    if let Err(refused) = outcome(result.outcome) {
        return failed(name, &refused);
    }
    let set: BTreeMap<String, String> = result.configs.into_iter().collect();
    let configs = describe_topic(&set, layers)
        .into_iter()
        .map(|config| CreatableTopicConfigs {
            name: ByteStr::from(config.name),
            value: config.value.map(ByteStr::from),
            read_only: config.read_only,
            config_source: config.source.code(),
            is_sensitive: config.sensitive,
            ..Default::default()
        });
    CreatableTopicResult {
        name,
        topic_id: Uuid::from_slice(&result.topic_id).unwrap_or_default(),
        error_code: ErrorCode::None.code(),
        error_message: None,
        num_partitions: result.partitions,
        replication_factor: i16::try_from(result.replication_factor).unwrap_or(i16::MAX),
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn failed(name: ByteStr, refused: &Refused) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refused.code.code(),
        error_message: refused.text(),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
