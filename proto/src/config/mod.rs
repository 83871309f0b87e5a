//! Configs: every key of Apache Kafka and our own with type, default, bounds and documentation; how values are read,
//! checked, layered, altered and described. Pure tables and functions: files, flags and environment are read by the
//! process (`node`).

mod alter;
mod broker;
mod definition;
mod describe;
mod error;
mod layers;
mod listener;
mod replication;
mod synonyms;
mod table;
mod topic;
mod validate;
mod value;

pub use alter::{AlterOperation, Alteration, ConfigScope, alter, replace};
pub use broker::{BrokerConfig, ConfigReader, GroupConfig, NetworkConfig, OffsetsConfig, TopicCreationConfig};
pub use definition::{Allowed, ConfigType, Definition, Importance, Support, Update};
pub use describe::{DescribedConfig, DescribedSynonym, describe_broker, describe_broker_defaults, describe_topic};
pub use error::{ConfigError, ConfigErrorKind};
pub use layers::{BrokerLayers, ConfigSource, Found, Profile, StaticValues, Values};
pub use listener::{ListenerEntry, parse_address, parse_listeners, parse_protocol_map};
pub use replication::{LEADER_SELECTOR, RACK_AWARE_SELECTOR, ReplicationConfig};
pub use synonyms::{Synonym, broker_synonyms, is_topic_default, topic_synonyms};
pub use table::{broker_definition, broker_definitions, topic_definition, topic_definitions};
pub use topic::{Compression, TimestampType, TopicConfig};
pub use validate::{is_read_again, validate_broker_configs, validate_static_configs, validate_topic_configs};
pub use value::{Value, split_list};

#[cfg(test)]
mod tests;
