//! DescribeConfigs (32): every config of topics and brokers, with where its value comes from.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use highwater_proto::config::{
    BrokerLayers, ConfigSource, DescribedConfig, DescribedSynonym, StaticValues, describe_broker,
    describe_broker_defaults, describe_topic,
};
use highwater_proto::kafka::messages::describe_configs::request::DescribeConfigsResource;
use highwater_proto::kafka::messages::describe_configs::response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use highwater_proto::kafka::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::{ConfigResource, MetadataImage};
use highwater_proto::types::{NodeId, is_legal_topic_name};

use super::controller_call::Refused;
use super::resource_type::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::{Api, RequestContext};

/// Handler of DescribeConfigs.
pub(super) struct DescribeConfigs;

impl Api for DescribeConfigs {
    type Request = DescribeConfigsRequest;
    const VERSIONS: RangeInclusive<i16> = 1..=4;

    async fn handle(context: &RequestContext, _: i16, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
        let broker = &context.broker;
        describe(&broker.image(), broker.node_id(), broker.static_values(), &request)
    }
}

fn describe(
    image: &MetadataImage,
    asked: NodeId,
    fixed: &StaticValues,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let unknown = request.resources.iter().find_map(unknown_type);
    // Each resource once: the answer is much larger than the question.
    let mut seen = BTreeSet::new();
    let once =
        |resource: &&DescribeConfigsResource| seen.insert((resource.resource_type, resource.resource_name.clone()));
    let results = request.resources.iter().filter(once).map(|resource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        let configs = match &unknown {
            Some(refused) => Err(refused.clone()),
            None => configs_of(image, asked, fixed, resource),
        };
        match configs {
            Ok(configs) => {
                let keys = asked_keys(resource);
                let is_asked = |name| keys.as_ref().is_none_or(|keys| keys.contains(name));
                let wanted = configs.into_iter().filter(|config| is_asked(config.name));
                result.configs = wanted.map(|config| row(config, request)).collect();
            }
            Err(refused) => {
                result.error_code = refused.code.code();
                result.error_message = refused.text();
            }
        }
        result
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

/// Characters of a name in a message that all resources of a request are answered with: the longest of a topic. A longer
/// one would be multiplied by as many resources as fit into the request.
const MAX_NAME_SHOWN: usize = 249;

/// A type that does not exist spoils the whole request (rule 169).
fn unknown_type(resource: &DescribeConfigsResource) -> Option<Refused> {
    let kind = resource.resource_type;
    let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP].contains(&kind);
    let message = || {
        let name: String = resource.resource_name.chars().take(MAX_NAME_SHOWN).collect();
        format!("Unexpected resource type {kind} for resource {name}.")
    };
    (!known).then(|| Refused::new(ErrorCode::InvalidRequest, message()))
}

fn configs_of(
    image: &MetadataImage,
    asked: NodeId,
    fixed: &StaticValues,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, Refused> {
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC => {
            if !is_legal_topic_name(name) {
                return Err(Refused::new(
                    ErrorCode::InvalidTopicException,
                    format!("Topic name '{name}' is invalid."),
                ));
            }
            let topic = image.topic(name).ok_or_else(|| {
                Refused::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("The topic '{name}' does not exist."),
                )
            })?;
            Ok(describe_topic(
                &topic.configs,
                &BrokerLayers::of(image, Some(asked), fixed),
            ))
        }
        BROKER if name.is_empty() => {
            let set = image.config(&ConfigResource::ClusterDefault).map(|set| &**set);
            Ok(set.map(describe_broker_defaults).unwrap_or_default())
        }
        BROKER => {
            own_id(name, asked)?;
            let mut configs = describe_broker(&BrokerLayers::of(image, Some(asked), fixed));
            configs.iter_mut().for_each(|config| name_itself(config, asked));
            Ok(configs)
        }
        other => {
            let message = format!("Configs of resource type {other} cannot be described.");
            Err(Refused::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// A broker that was started without an id got one from the controller, for good: it is as static as one that was set.
fn name_itself(config: &mut DescribedConfig, id: NodeId) {
    if matches!(config.name, "node.id" | "broker.id") && config.source == ConfigSource::Default {
        config.value = Some(id.to_string());
        config.source = ConfigSource::StaticBroker;
        config.synonyms = vec![DescribedSynonym {
            name: config.name,
            value: config.value.clone(),
            source: config.source,
        }];
    }
}

/// Static configs are known to each broker alone, so only itself can describe them.
pub(super) fn own_id(name: &str, asked: NodeId) -> Result<(), Refused> {
    match name.parse() {
        Ok(id) if NodeId(id) == asked => Ok(()),
        Ok(id) => {
            let message = format!("Unexpected broker id, expected {asked} or an empty string, but received {id}.");
            Err(Refused::new(ErrorCode::InvalidRequest, message))
        }
        Err(_) => {
            let message = format!("Broker id must be an integer, but it is: {name}");
            Err(Refused::new(ErrorCode::InvalidRequest, message))
        }
    }
}

/// The names of the configs that are asked for. No keys at all means all of them.
fn asked_keys(resource: &DescribeConfigsResource) -> Option<HashSet<&str>> {
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty())?;
    Some(keys.iter().map(|key| &**key).collect())
}

fn row(config: DescribedConfig, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
        name: ByteStr::from(synonym.name),
        value: synonym.value.map(ByteStr::from),
        source: synonym.source.code(),
        ..Default::default()
    });
    DescribeConfigsResourceResult {
        name: ByteStr::from(config.name),
        value: config.value.map(ByteStr::from),
        read_only: config.read_only,
        config_source: config.source.code(),
        is_sensitive: config.sensitive,
        synonyms: if request.include_synonyms {
            synonyms.collect()
        } else {
            Vec::new()
        },
        config_type: config.kind.code(),
        documentation: request
            .include_documentation
            .then(|| ByteStr::from(config.documentation)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
