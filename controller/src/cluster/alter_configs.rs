//! IncrementalAlterConfigs and AlterConfigs (rules 106 and 170).

use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, ConfigResource, MetadataImage, NodeRole, Topic};
use highwater_proto::types::NodeId;

use crate::cluster::{Command, ConfigScope, Decision, Refusal, Settings, Steps, validate_topic_name};

/// Longest value of a config, in characters.
const MAX_VALUE_LENGTH: usize = 32_767;

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

/// The change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// Config name.
    pub name: String,
    /// The value, where the kind needs one.
    pub value: Option<String>,
    /// What to do with it.
    pub kind: AlterationKind,
}

/// Kafka's config operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterationKind {
    /// Sets the value.
    Set,
    /// Removes the value, so that the default counts.
    Delete,
    /// Adds to a list.
    Append,
    /// Takes out of a list.
    Subtract,
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
            Self::Dynamic(ConfigResource::Group(_), _) => ConfigScope::Group,
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
            },
            Self::Dynamic(resource, _) if configs.is_empty() => Change::DeleteConfig(resource),
            Self::Dynamic(resource, _) => Change::PutConfig(resource, configs),
        }
    }
}

fn alter(image: &MetadataImage, settings: &Settings, resource: &ResourceAlteration) -> Result<Option<Change>, Refusal> {
    check_alterations(&resource.alterations)?;
    let target = find(image, resource)?;
    let scope = target.scope();
    let mut configs = if resource.replace {
        BTreeMap::new()
    } else {
        target.configs().clone()
    };
    for alteration in &resource.alterations {
        apply(settings, scope, alteration, &mut configs)?;
    }
    let checked = settings.rules.validate(scope, &configs);
    checked.map_err(|message| Refusal::new(ErrorCode::InvalidConfig, message))?;
    if configs == *target.configs() {
        return Ok(None);
    }
    let count = match &target {
        Target::Topic(topic) => image.declared_partition_count(topic.id).unwrap_or(0),
        Target::Dynamic(..) => 0,
    };
    Ok(Some(target.put(count, configs)))
}

fn check_alterations(alterations: &[Alteration]) -> Result<(), Refusal> {
    let names: BTreeSet<&str> = alterations.iter().map(|alteration| alteration.name.as_str()).collect();
    if names.len() != alterations.len() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Error due to duplicate config keys",
        ));
    }
    let without_value =
        |alteration: &&Alteration| alteration.value.is_none() && alteration.kind != AlterationKind::Delete;
    let nulls: Vec<&str> = alterations
        .iter()
        .filter(without_value)
        .map(|null| null.name.as_str())
        .collect();
    if nulls.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidRequest,
        format!("Null value not supported for : {}", nulls.join(",")),
    ))
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
        ResourceType::Group if name.is_empty() => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "Default group resources are not allowed.",
        )),
        ResourceType::Group => dynamic(ConfigResource::Group(name.to_owned())),
        ResourceType::Unknown(number) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected resource type {number}."),
        )),
    }
}

fn apply(
    settings: &Settings,
    scope: ConfigScope,
    alteration: &Alteration,
    configs: &mut BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let name = &alteration.name;
    let given = alteration.value.as_deref().unwrap_or_default();
    let value = match alteration.kind {
        AlterationKind::Delete => {
            configs.remove(name);
            return Ok(());
        }
        AlterationKind::Set => given.to_owned(),
        AlterationKind::Append | AlterationKind::Subtract => {
            let Some(default) = settings.rules.list_default(scope, name) else {
                let verb = if alteration.kind == AlterationKind::Append {
                    "APPEND"
                } else {
                    "SUBTRACT"
                };
                let message = format!("Can't {verb} to key {name} because its type is not LIST.");
                return Err(Refusal::new(ErrorCode::InvalidConfig, message));
            };
            let current = configs.get(name).cloned().unwrap_or(default);
            let mut parts = list(&current);
            let given = list(given);
            if alteration.kind == AlterationKind::Append {
                for part in given {
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
            } else {
                parts.retain(|part| !given.contains(part));
            }
            parts.join(",")
        }
    };
    if value.chars().count() > MAX_VALUE_LENGTH {
        let message = format!(
            "The configuration value cannot be added because it exceeds the maximum value size of {MAX_VALUE_LENGTH} \
             bytes."
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    configs.insert(name.clone(), value);
    Ok(())
}

fn list(value: &str) -> Vec<&str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}
