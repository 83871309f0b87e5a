//! Configuration of a process, from flags, environment and a Java properties file.

mod cluster;
mod documentation;
mod etcd;
mod listeners;
mod otel;
mod properties;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use highwater_proto::config::{
    BrokerConfig, BrokerLayers, ConfigError, ConfigReader, Profile, StaticValues, Support, Values, broker_definition,
    split_list, validate_static_configs,
};
use highwater_proto::types::NodeId;

pub use cluster::{ClusterConfig, GrpcConfig};
pub use documentation::render_documentation;
pub use etcd::{EtcdConfig, EtcdIdentity, EtcdTls, EtcdUser};
pub use listeners::{ListenerConfig, Listeners};
pub use otel::OtelConfig;
pub use properties::{PropertiesError, Property, parse_properties};
pub use sources::{ENVIRONMENT_PREFIX, LoadError, Origin, Sources, environment_variable, parse_set};

/// All that a process is configured with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The values as they were set: the static layer of all broker and topic configs.
    pub fixed: StaticValues,
    /// Where each of them was set.
    pub origins: BTreeMap<String, Origin>,
    /// Keys that have no effect here, with the reason: worth a line in the log.
    pub ignored: Vec<IgnoredConfig>,
    /// `node.id`; `None` = the controller gives one.
    pub node_id: Option<NodeId>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `pod.uid`
    pub pod_uid: Option<String>,
    /// `log.dirs` or `log.dir`
    pub data_dir: PathBuf,
    /// `listeners` and `advertised.listeners`
    pub listeners: Listeners,
    /// Where the parts of the cluster are.
    pub cluster: ClusterConfig,
    /// Where a controller keeps the metadata; `None` = in its own data directory.
    pub etcd: Option<EtcdConfig>,
    /// `http.listener`
    pub http_listener: String,
    /// `logging.filter` and `logging.format`
    pub logging: LoggingConfig,
    /// Where traces and metrics are sent.
    pub otel: OtelConfig,
    /// Timing of sessions with the controller.
    pub session: SessionConfig,
    /// `shutdown.grace.ms`
    pub shutdown_grace: Duration,
    /// What brokers and coordinators obey, as long as nothing is changed while they run.
    pub broker: BrokerConfig,
}

/// A key that was set without effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredConfig {
    /// The key.
    pub key: String,
    /// Why it has none.
    pub reason: &'static str,
}

/// How log lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// `logging.filter`
    pub filter: String,
    /// `logging.format` is `json`.
    pub json: bool,
}

/// Timing of sessions with the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// `node.reconnect.grace.ms`
    pub reconnect_grace: Duration,
    /// `node.session.timeout.ms`
    pub timeout: Duration,
}

impl NodeConfig {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong, naming key, value, what is allowed and where it was set.
    pub fn load(profile: Profile, sources: &Sources) -> Result<Self, LoadError> {
        let (values, origins) = sources::merge(sources)?;
        let built = Self::build(StaticValues { profile, values });
        let mut config = built.map_err(|error| {
            let origin = origins.get(&error.key).cloned();
            LoadError::Config { error, origin }
        })?;
        config.origins = origins;
        Ok(config)
    }

    fn build(fixed: StaticValues) -> Result<Self, ConfigError> {
        validate_static_configs(&fixed.values)?;
        let layers = BrokerLayers::fixed(&fixed);
        let read = ConfigReader::new(&layers);
        let cluster = ClusterConfig::read(&read, &fixed)?;
        let config = Self {
            origins: BTreeMap::new(),
            ignored: ignored(&fixed),
            node_id: node_id(&read)?,
            rack: read.text("broker.rack")?.filter(|rack| !rack.is_empty()),
            pod_uid: read.text("pod.uid")?.filter(|uid| !uid.is_empty()),
            data_dir: data_dir(&read)?,
            listeners: Listeners::read(&read)?,
            etcd: EtcdConfig::read(&read, &cluster)?,
            cluster,
            http_listener: read.text("http.listener")?.unwrap_or_default(),
            logging: LoggingConfig {
                filter: read.text("logging.filter")?.unwrap_or_default(),
                json: read.text("logging.format")?.as_deref() == Some("json"),
            },
            otel: OtelConfig::read(&read)?,
            session: SessionConfig {
                reconnect_grace: read.millis("node.reconnect.grace.ms")?,
                timeout: read.millis("node.session.timeout.ms")?,
            },
            shutdown_grace: read.millis("shutdown.grace.ms")?,
            broker: BrokerConfig::resolve(&layers)?,
            fixed: StaticValues::default(),
        };
        // The topics' defaults have to be readable too.
        highwater_proto::config::TopicConfig::resolve(&Values::new(), &layers)?;
        Ok(Self { fixed, ..config })
    }
}

fn ignored(fixed: &StaticValues) -> Vec<IgnoredConfig> {
    let reason = |key: &str| match broker_definition(key).map(|definition| definition.support) {
        Some(Support::Ignored(reason)) => Some(reason),
        _ => None,
    };
    let without_effect = fixed.values.keys().filter_map(|key| {
        Some(IgnoredConfig {
            key: key.clone(),
            reason: reason(key)?,
        })
    });
    without_effect.chain(cluster::ignored(fixed)).collect()
}

fn node_id(read: &ConfigReader<'_>) -> Result<Option<NodeId>, ConfigError> {
    let node = read.optional("node.id")?;
    let broker = read.optional("broker.id")?;
    if let (Some(node), Some(broker)) = (node, broker)
        && node != broker
    {
        return Err(ConfigError::refused(
            "broker.id",
            &broker.to_string(),
            "allowed is the value of node.id",
        ));
    }
    Ok(node.or(broker).and_then(|id| i32::try_from(id).ok()).map(NodeId))
}

fn data_dir(read: &ConfigReader<'_>) -> Result<PathBuf, ConfigError> {
    let (key, text) = match read.text("log.dirs")? {
        Some(text) => ("log.dirs", text),
        None => ("log.dir", read.text("log.dir")?.unwrap_or_default()),
    };
    match split_list(&text).as_slice() {
        [one] if !one.is_empty() => Ok(PathBuf::from(one)),
        _ => Err(ConfigError::refused(key, &text, "allowed is exactly one directory")),
    }
}

#[cfg(test)]
mod tests;
