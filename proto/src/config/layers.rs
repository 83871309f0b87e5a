//! Where the value of a broker config comes from: dynamic for the broker, dynamic for all, static, default.

use std::collections::BTreeMap;

use crate::config::{ConfigError, Definition, Synonym, Value, broker_definition};
use crate::metadata::{ConfigResource, MetadataImage};
use crate::types::NodeId;

/// Keys and values as users wrote them.
pub type Values = BTreeMap<String, String>;

/// What a process is part of: some defaults differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// One process that is a whole cluster: everything has one replica, and only this machine can connect.
    #[default]
    Standalone,
    /// A cluster: three replicas of which two must be in sync.
    Cluster,
}

impl Profile {
    /// The default of a config, `None` for null.
    #[must_use]
    pub fn default_of(self, definition: &Definition) -> Option<&'static str> {
        let own = match (self, definition.name) {
            (Self::Standalone, "listeners") => "PLAINTEXT://127.0.0.1:9092",
            (Self::Standalone, "http.listener") => "127.0.0.1:9644",
            (Self::Standalone, "log.dir") => "./highwater-data",
            (
                Self::Standalone,
                "offsets.topic.replication.factor"
                | "transaction.state.log.replication.factor"
                | "transaction.state.log.min.isr"
                | "share.coordinator.state.topic.replication.factor"
                | "share.coordinator.state.topic.min.isr",
            ) => "1",
            (Self::Cluster, "log.dir") => "/var/lib/highwater",
            (Self::Cluster, "default.replication.factor") => "3",
            (Self::Cluster, "min.insync.replicas") => "2",
            _ => return definition.default,
        };
        Some(own)
    }
}

/// What a process was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticValues {
    /// Which defaults hold.
    pub profile: Profile,
    /// What was set, by key; each is a known key with a valid value.
    pub values: Values,
}

/// Where a value comes from; the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigSource {
    /// The topic's own config.
    Topic,
    /// Set for one broker while it runs.
    DynamicBroker,
    /// Set for all brokers while they run.
    DynamicDefaultBroker,
    /// Set at start.
    StaticBroker,
    /// Not set.
    Default,
}

impl ConfigSource {
    /// The number of the source in `DescribeConfigs` answers.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// All that decides the broker configs of one broker.
#[derive(Clone, Copy, Debug)]
pub struct BrokerLayers<'a> {
    /// Dynamic configs of this broker.
    pub broker: Option<&'a Values>,
    /// Dynamic configs of all brokers.
    pub default: Option<&'a Values>,
    /// What the process was started with.
    pub fixed: &'a StaticValues,
}

/// A value that was found in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Under which key.
    pub synonym: Synonym,
    /// The value as it was written.
    pub value: &'a str,
    /// In which layer.
    pub source: ConfigSource,
}

impl<'a> BrokerLayers<'a> {
    /// The layers as a broker sees them in an image; without a broker only those that hold for all.
    #[must_use]
    pub fn of(image: &'a MetadataImage, broker: Option<NodeId>, fixed: &'a StaticValues) -> Self {
        let dynamic = |resource: &ConfigResource| image.configs.get(resource).map(AsRef::as_ref);
        Self {
            broker: broker.and_then(|id| dynamic(&ConfigResource::Broker(id))),
            default: dynamic(&ConfigResource::ClusterDefault),
            fixed,
        }
    }

    /// Only what the process was started with.
    #[must_use]
    pub fn fixed(fixed: &'a StaticValues) -> Self {
        Self {
            broker: None,
            default: None,
            fixed,
        }
    }

    /// All values of a config and its synonyms, the one that holds first: a layer comes before the next whatever the
    /// synonym.
    #[must_use]
    pub fn found(&self, synonyms: &[Synonym]) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        let set = [
            (self.broker, ConfigSource::DynamicBroker),
            (self.default, ConfigSource::DynamicDefaultBroker),
            (Some(&self.fixed.values), ConfigSource::StaticBroker),
        ];
        for (values, source) in set {
            for synonym in synonyms {
                if let Some(value) = values.and_then(|values| values.get(synonym.key)) {
                    found.push(Found {
                        synonym: *synonym,
                        value,
                        source,
                    });
                }
            }
        }
        for synonym in synonyms {
            let default = broker_definition(synonym.key).and_then(|d| self.fixed.profile.default_of(d));
            if let Some(value) = default {
                found.push(Found {
                    synonym: *synonym,
                    value,
                    source: ConfigSource::Default,
                });
            }
        }
        found
    }

    /// The value of one broker config, its synonyms left aside; `None` for null.
    #[must_use]
    pub fn get(&self, definition: &'static Definition) -> Option<Found<'a>> {
        self.found(&[Synonym {
            key: definition.name,
            scale: 1,
        }])
        .first()
        .copied()
    }

    /// The parsed value of one broker config; `None` for null.
    ///
    /// # Errors
    /// When the key is unknown or the value cannot be read.
    pub fn value(&self, key: &str) -> Result<Option<Value>, ConfigError> {
        let definition = broker_definition(key).ok_or_else(|| ConfigError::unknown("broker", key))?;
        self.get(definition)
            .map(|found| definition.parse(found.value))
            .transpose()
    }
}
