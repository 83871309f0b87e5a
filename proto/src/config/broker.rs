//! The broker configs that are obeyed, resolved and typed. One namespace serves all kinds of process: a coordinator
//! reads the group part, a controller the topic part.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::value::split_list;
use crate::config::{BrokerLayers, ConfigError, ReplicationConfig, Value, Values};

/// What a broker obeys, but for its listeners and its directory, which belong to the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Connections and requests.
    pub network: NetworkConfig,
    /// Topics that are created.
    pub topics: TopicCreationConfig,
    /// The offsets topic and committed offsets.
    pub offsets: OffsetsConfig,
    /// Consumer groups.
    pub groups: GroupConfig,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration: Duration,
    /// `replica.lag.time.max.ms`
    pub replica_lag_time_max: Duration,
    /// Copying from leaders, and reading from followers.
    pub replication: ReplicationConfig,
    /// `disk.soft.free.bytes`
    pub disk_soft_free_bytes: u64,
    /// `disk.soft.free.percent`
    pub disk_soft_free_percent: u64,
}

/// Connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `connections.max.idle.ms`; `None` = connections may be idle for ever.
    pub connections_max_idle: Option<Duration>,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: usize,
    /// `max.connections`
    pub max_connections: usize,
    /// `max.connections.per.ip`
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`: address → count.
    pub max_connections_per_ip_overrides: BTreeMap<String, usize>,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_session_slots: usize,
    /// `max.request.partition.size.limit`
    pub max_request_partitions: usize,
    /// `queued.max.request.bytes`; `None` = the broker chooses.
    pub queued_max_request_bytes: Option<usize>,
    /// `socket.listen.backlog.size`
    pub listen_backlog: u32,
    /// `socket.request.max.bytes`
    pub request_max_bytes: usize,
}

/// Topics that are created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCreationConfig {
    /// `auto.create.topics.enable`
    pub auto_create: bool,
    /// `delete.topic.enable`
    pub delete_enable: bool,
    /// `num.partitions`
    pub partitions: i32,
    /// `default.replication.factor`
    pub replication_factor: i16,
}

/// The offsets topic and committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsConfig {
    /// `offsets.topic.num.partitions`
    pub topic_partitions: i32,
    /// `offsets.topic.replication.factor`
    pub topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`
    pub topic_segment_bytes: u32,
    /// `offset.metadata.max.bytes`
    pub metadata_max_bytes: usize,
    /// `offsets.commit.timeout.ms`
    pub commit_timeout: Duration,
    /// `offsets.retention.minutes`
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval: Duration,
}

/// Consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout: Duration,
    /// `group.max.size`
    pub max_size: usize,
}

impl BrokerConfig {
    /// What holds with these layers.
    ///
    /// # Errors
    /// When a value cannot be read or values contradict each other.
    pub fn resolve(layers: &BrokerLayers<'_>) -> Result<Self, ConfigError> {
        let read = ConfigReader::new(layers);
        Ok(Self {
            network: NetworkConfig::read(&read)?,
            topics: TopicCreationConfig {
                auto_create: read.boolean("auto.create.topics.enable")?,
                delete_enable: read.boolean("delete.topic.enable")?,
                partitions: read.number("num.partitions")?,
                replication_factor: read.number("default.replication.factor")?,
            },
            offsets: OffsetsConfig::read(&read)?,
            groups: GroupConfig::read(&read)?,
            retention_check_interval: read.millis("log.retention.check.interval.ms")?,
            producer_id_expiration: read.millis("producer.id.expiration.ms")?,
            replica_lag_time_max: read.millis("replica.lag.time.max.ms")?,
            replication: ReplicationConfig::read(&read)?,
            disk_soft_free_bytes: read.number("disk.soft.free.bytes")?,
            disk_soft_free_percent: read.number("disk.soft.free.percent")?,
        })
    }
}

impl NetworkConfig {
    fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        let overrides = "max.connections.per.ip.overrides";
        Ok(Self {
            connections_max_idle: read.optional("connections.max.idle.ms")?.map(Duration::from_millis),
            fetch_max_bytes: read.number("fetch.max.bytes")?,
            max_connections: read.number("max.connections")?,
            max_connections_per_ip: read.number("max.connections.per.ip")?,
            max_connections_per_ip_overrides: connection_overrides(
                overrides,
                &read.text(overrides)?.unwrap_or_default(),
            )?,
            fetch_session_slots: read.number("max.incremental.fetch.session.cache.slots")?,
            max_request_partitions: read.number("max.request.partition.size.limit")?,
            queued_max_request_bytes: queued_max_request_bytes(read)?,
            listen_backlog: read.number("socket.listen.backlog.size")?,
            request_max_bytes: read.number("socket.request.max.bytes")?,
        })
    }
}

impl OffsetsConfig {
    fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        let minutes: u64 = read.number("offsets.retention.minutes")?;
        Ok(Self {
            topic_partitions: read.number("offsets.topic.num.partitions")?,
            topic_replication_factor: read.number("offsets.topic.replication.factor")?,
            topic_segment_bytes: read.number("offsets.topic.segment.bytes")?,
            metadata_max_bytes: read.number("offset.metadata.max.bytes")?,
            commit_timeout: read.millis("offsets.commit.timeout.ms")?,
            retention: Duration::from_secs(minutes.saturating_mul(60)),
            retention_check_interval: read.millis("offsets.retention.check.interval.ms")?,
        })
    }

    /// Configs with which the offsets topic is created.
    #[must_use]
    pub fn topic_configs(&self) -> Values {
        [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", self.topic_segment_bytes.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

impl GroupConfig {
    fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            initial_rebalance_delay: read.millis("group.initial.rebalance.delay.ms")?,
            min_session_timeout: read.millis("group.min.session.timeout.ms")?,
            max_session_timeout: read.millis("group.max.session.timeout.ms")?,
            max_size: read.number("group.max.size")?,
        };
        if config.min_session_timeout > config.max_session_timeout {
            let value = config.min_session_timeout.as_millis().to_string();
            let reason = "allowed is at most group.max.session.timeout.ms";
            return Err(ConfigError::invalid("group.min.session.timeout.ms", &value, reason));
        }
        Ok(config)
    }
}

/// Reads typed values of broker configs.
#[derive(Clone, Copy, Debug)]
pub struct ConfigReader<'a> {
    layers: &'a BrokerLayers<'a>,
}

impl<'a> ConfigReader<'a> {
    /// Reads from these layers.
    #[must_use]
    pub fn new(layers: &'a BrokerLayers<'a>) -> Self {
        Self { layers }
    }

    /// A text; `None` for null.
    ///
    /// # Errors
    /// When the value cannot be read, as in all methods here.
    pub fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.layers.value(key)? {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::List(items)) => Ok(Some(items.join(","))),
            Some(other) => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a text")),
            None => Ok(None),
        }
    }

    /// A boolean; null is false.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn boolean(&self, key: &str) -> Result<bool, ConfigError> {
        Ok(self.layers.value(key)? == Some(Value::Boolean(true)))
    }

    /// A number of any width; one that does not fit is refused, null too.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn number<N: TryFrom<i64>>(&self, key: &str) -> Result<N, ConfigError> {
        match self.layers.value(key)? {
            Some(Value::Integer(number)) => {
                N::try_from(number).map_err(|_| ConfigError::invalid(key, &number.to_string(), "out of range"))
            }
            other => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a number")),
        }
    }

    /// A number with a fraction; null is refused.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn fraction(&self, key: &str) -> Result<f64, ConfigError> {
        match self.layers.value(key)? {
            Some(Value::Double(number)) => Ok(number),
            other => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a number")),
        }
    }

    /// A number for which a negative value (or null) means "none".
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn optional(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.layers.value(key)? {
            Some(Value::Integer(number)) => Ok(u64::try_from(number).ok()),
            Some(other) => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a number")),
            None => Ok(None),
        }
    }

    /// Milliseconds.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn millis(&self, key: &str) -> Result<Duration, ConfigError> {
        self.number(key).map(Duration::from_millis)
    }
}

/// With less, requests that are allowed could not be read, or only one at a time.
fn queued_max_request_bytes(read: &ConfigReader<'_>) -> Result<Option<usize>, ConfigError> {
    let key = "queued.max.request.bytes";
    let Some(bytes) = read.optional(key)? else {
        return Ok(None);
    };
    let least = 2 * read.number::<u32>("socket.request.max.bytes").map(u64::from)?;
    if bytes < least {
        let reason = format!("allowed is -1, or at least twice socket.request.max.bytes ({least})");
        return Err(ConfigError::invalid(key, &bytes.to_string(), reason));
    }
    Ok(Some(usize::try_from(bytes).unwrap_or(usize::MAX)))
}

fn connection_overrides(key: &str, text: &str) -> Result<BTreeMap<String, usize>, ConfigError> {
    split_list(text)
        .into_iter()
        .map(|item| {
            item.rsplit_once(':')
                .filter(|(address, _)| !address.is_empty())
                .and_then(|(address, count)| Some((address.to_owned(), count.parse().ok()?)))
                .ok_or_else(|| ConfigError::invalid(key, text, "allowed is a list of address:count"))
        })
        .collect()
}
