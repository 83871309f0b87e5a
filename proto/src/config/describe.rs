//! Configs as `DescribeConfigs` shows them.

use crate::config::topic::effective;
use crate::config::{
    BrokerLayers, ConfigSource, ConfigType, Definition, Found, Synonym, Update, Values, broker_definition,
    broker_definitions, broker_synonyms, topic_definitions, topic_synonyms,
};

/// One config with where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Its key.
    pub name: &'static str,
    /// The value that holds; `None` for null and for secrets.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// All values that are set or default, the one that holds first.
    pub synonyms: Vec<DescribedSynonym>,
    /// Its type.
    pub kind: ConfigType,
    /// What it does.
    pub documentation: &'static str,
    /// It cannot be changed through the protocol.
    pub read_only: bool,
    /// Its value is never shown.
    pub sensitive: bool,
}

/// One of the values that a config could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedSynonym {
    /// The key under which it is set.
    pub name: &'static str,
    /// The value; `None` for secrets.
    pub value: Option<String>,
    /// Where it is set.
    pub source: ConfigSource,
}

/// Every config of a topic, by name.
#[must_use]
pub fn describe_topic(topic: &Values, broker: &BrokerLayers<'_>) -> Vec<DescribedConfig> {
    topic_definitions()
        .map(|definition| {
            let own = topic.get(definition.name).map(|value| DescribedSynonym {
                name: definition.name,
                value: shown(definition, value),
                source: ConfigSource::Topic,
            });
            let inherited = described(definition, broker.found(topic_synonyms(definition.name)));
            let value = effective(definition, topic, broker).ok().flatten();
            described_config(definition, value, own.into_iter().chain(inherited).collect(), false)
        })
        .collect()
}

/// Every config of a broker, by name.
#[must_use]
pub fn describe_broker(broker: &BrokerLayers<'_>) -> Vec<DescribedConfig> {
    broker_definitions()
        .map(|definition| {
            let alone = [Synonym {
                key: definition.name,
                scale: 1,
            }];
            let synonyms = match broker_synonyms(definition.name) {
                [] => &alone,
                synonyms => synonyms,
            };
            let value = broker.get(definition).map(|found| found.value.to_owned());
            let synonyms = described(definition, broker.found(synonyms)).collect();
            described_config(definition, value, synonyms, definition.update == Update::ReadOnly)
        })
        .collect()
}

/// The dynamic configs that hold for all brokers (the broker resource with the empty name): only those that are set.
#[must_use]
pub fn describe_broker_defaults(default: &Values) -> Vec<DescribedConfig> {
    default
        .iter()
        .filter_map(|(key, value)| Some((broker_definition(key)?, value)))
        .map(|(definition, value)| {
            let synonym = DescribedSynonym {
                name: definition.name,
                value: shown(definition, value),
                source: ConfigSource::DynamicDefaultBroker,
            };
            described_config(
                definition,
                Some(value.clone()),
                vec![synonym],
                definition.update == Update::ReadOnly,
            )
        })
        .collect()
}

fn described_config(
    definition: &'static Definition,
    value: Option<String>,
    synonyms: Vec<DescribedSynonym>,
    read_only: bool,
) -> DescribedConfig {
    DescribedConfig {
        name: definition.name,
        value: value.and_then(|value| shown(definition, &value)),
        source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
        synonyms,
        kind: definition.kind,
        documentation: definition.documentation,
        read_only,
        sensitive: definition.is_sensitive(),
    }
}

fn described<'a>(definition: &'static Definition, found: Vec<Found<'a>>) -> impl Iterator<Item = DescribedSynonym> {
    found.into_iter().map(move |found| DescribedSynonym {
        name: found.synonym.key,
        value: shown(definition, found.value),
        source: found.source,
    })
}

fn shown(definition: &Definition, value: &str) -> Option<String> {
    (!definition.is_sensitive()).then(|| value.to_owned())
}
