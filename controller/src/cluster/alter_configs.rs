//! IncrementalAlterConfigs and AlterConfigs (rules 106 and 170).

use std::collections::BTreeMap;

use highwater_proto::config::{self, Alteration, ConfigScope};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, ConfigResource, MetadataImage, NodeRole, Topic};
use highwater_proto::types::NodeId;

use crate::cluster::{Command, Decision, Refusal, Settings, Steps, validate_topic_name};

/// A request to change configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterConfigs {
    /// The resources.
    pub resources: Vec<ResourceAlteration>,
    /// Answer as if, but change nothing.
    pub validate_only: bool,
}

/// Kafka's config resource types that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceType {
    /// 2
    Topic,
    /// 4; the empty name is the default of all brokers.
    Broker,
    /// 32
    Group,
    /// Anything else, by its number.
    Unknown(i32),
}

/// The changes to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceAlteration {
    /// What kind of thing.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: String,
    /// The changes.
    pub alterations: Vec<Alteration>,
    /// Keys that are not sent are deleted (AlterConfigs).
    pub replace: bool,
}

/// What became of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredResource {
    /// What kind of thing.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: String,
    /// Changed, or why not.
    pub result: Result<(), Refusal>,
}

impl Command for AlterConfigs {
    /// One result per resource; one that is there twice is refused once.
    type Reply = Vec<AlteredResource>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let mut count: BTreeMap<(ResourceType, &str), usize> = BTreeMap::new();
        for resource in &self.resources {
            *count.entry((resource.resource_type, &resource.name)).or_default() += 1;
        }
        let mut steps = Steps::new();
        let mut results = Vec::with_capacity(self.resources.len());
        for resource in &self.resources {
            let result = match count.get_mut(&(resource.resource_type, resource.name.as_str())) {
                Some(1) => alter(image, settings, resource),
                Some(count) if *count > 1 => {
                    *count = 0;
                    Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        "Each resource must appear at most once.",
                    ))
                }
                _ => continue,
            };
            let result = result.map(|change| {
                if let Some(change) = change {
                    steps.push(change);
                }
            });
            let (resource_type, name) = (resource.resource_type, resource.name.clone());
            results.push(AlteredResource {
                resource_type,
                name,
                result,
            });
        }
        let steps = if self.validate_only { Vec::new() } else { steps.finish() };
        Decision { steps, reply: results }
    }
}

/// A resource that exists, with the configs that are set on it.
enum Target<'a> {
    Topic(&'a Topic),
    Dynamic(ConfigResource, BTreeMap<String, String>),
}

impl Target<'_> {
    fn scope(&self) -> ConfigScope {
        match self {
            Self::Topic(_) => ConfigScope::Topic,
            Self::Dynamic(..) => ConfigScope::Broker,
        }
    }

    fn configs(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Topic(topic) => &topic.configs,
            Self::Dynamic(_, configs) => configs,
        }
    }

    fn put(self, partition_count: i32, configs: BTreeMap<String, String>) -> Change {
        match self {
            Self::Topic(topic) => Change::PutTopic {
                name: topic.name.to_string(),
                topic_id: topic.id,
                partition_count,
                configs,
                owner: topic.owner.clone(),
            },
            Self::Dynamic(resource, _) if configs.is_empty() => Change::DeleteConfig(resource),
            Self::Dynamic(resource, _) => Change::PutConfig(resource, configs),
        }
    }
}

fn alter(image: &MetadataImage, settings: &Settings, resource: &ResourceAlteration) -> Result<Option<Change>, Refusal> {
    let target = find(image, resource)?;
    let configs = if resource.replace {
        let values = resource
            .alterations
            .iter()
            .map(|given| (given.name.as_str(), given.value.as_deref()));
        config::replace(values)?
    } else {
        config::alter(target.scope(), target.configs(), &resource.alterations)?
    };
    match &target {
        Target::Topic(topic) => config::validate_topic_configs(&topic.name, &configs)?,
        Target::Dynamic(of, _) => {
            config::validate_broker_configs(&configs, *of == ConfigResource::ClusterDefault, &settings.fixed)?;
        }
    }
    if configs == *target.configs() {
        return Ok(None);
    }
    let count = match &target {
        Target::Topic(topic) => image.declared_partition_count(topic.id).unwrap_or(0),
        Target::Dynamic(..) => 0,
    };
    Ok(Some(target.put(count, configs)))
}

fn find<'a>(image: &'a MetadataImage, resource: &ResourceAlteration) -> Result<Target<'a>, Refusal> {
    let name = resource.name.as_str();
    let dynamic = |resource: ConfigResource| {
        let set = image
            .config(&resource)
            .map(|configs| (**configs).clone())
            .unwrap_or_default();
        Ok(Target::Dynamic(resource, set))
    };
    match resource.resource_type {
        ResourceType::Topic if name.is_empty() => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Default topic resources are not allowed.",
        )),
        ResourceType::Topic => {
            validate_topic_name(name)?;
            image.topic(name).map(|topic| Target::Topic(topic)).ok_or_else(|| {
                let message = format!("The topic '{name}' does not exist.");
                Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
            })
        }
        ResourceType::Broker if name.is_empty() => dynamic(ConfigResource::ClusterDefault),
        ResourceType::Broker => {
            let id = name.parse().map(NodeId).map_err(|_| {
                let message = format!("Node id must be an integer, but it is: {name}");
                Refusal::new(ErrorCode::InvalidRequest, message)
            })?;
            if image
                .node(id)
                .is_none_or(|node| node.registration.role != NodeRole::Broker)
            {
                let message = format!("No node with id {id} found.");
                return Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
            }
            dynamic(ConfigResource::Broker(id))
        }
        ResourceType::Group => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Configs of groups are not supported.",
        )),
        ResourceType::Unknown(number) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected resource type {number}."),
        )),
    }
}
