//! The configs of one topic, resolved and typed.

use std::time::Duration;

use crate::config::{BrokerLayers, ConfigError, Definition, Value, Values, topic_definition, topic_synonyms};

/// What a topic's partitions obey.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` has `delete`: retention removes old segments.
    pub cleanup_delete: bool,
    /// `cleanup.policy` has `compact`: records must have keys.
    pub cleanup_compact: bool,
    /// `compression.type` and its level.
    pub compression: Compression,
    /// `file.delete.delay.ms`
    pub file_delete_delay: Duration,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_interval: Duration,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `max.decompressed.message.bytes`
    pub max_decompressed_message_bytes: usize,
    /// `max.message.bytes`: of a whole batch as it arrives.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max: Duration,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max: Duration,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `min.insync.replicas`, not yet capped at the replication factor.
    pub min_insync_replicas: usize,
    /// `retention.bytes`; `None` = without limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` = for ever.
    pub retention: Option<Duration>,
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`
    pub segment_jitter: Duration,
    /// `segment.ms`
    pub segment_age: Duration,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `write.caching`: acknowledged means replicated, not flushed.
    pub write_caching: bool,
}

/// How batches are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent them.
    Producer,
    /// Uncompressed.
    Uncompressed,
    /// Gzip; the level is -1 or 1 to 9.
    Gzip {
        /// `compression.gzip.level`
        level: i32,
    },
    /// Snappy.
    Snappy,
    /// LZ4; the level is 1 to 17.
    Lz4 {
        /// `compression.lz4.level`
        level: i32,
    },
    /// Zstandard; the level is -131072 to 22.
    Zstd {
        /// `compression.zstd.level`
        level: i32,
    },
}

/// Whose timestamp records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's, at the append.
    LogAppendTime,
}

impl TopicConfig {
    /// What holds for a topic with these configs on a broker with these defaults.
    ///
    /// # Errors
    /// When a value cannot be read, which is checked before it is stored.
    pub fn resolve(topic: &Values, broker: &BrokerLayers<'_>) -> Result<Self, ConfigError> {
        let read = Reader { topic, broker };
        let cleanup = read.list("cleanup.policy")?;
        Ok(Self {
            cleanup_delete: cleanup.iter().any(|policy| policy == "delete"),
            cleanup_compact: cleanup.iter().any(|policy| policy == "compact"),
            compression: read.compression()?,
            file_delete_delay: read.millis("file.delete.delay.ms")?,
            flush_messages: read.integer("flush.messages")?,
            flush_interval: read.millis("flush.ms")?,
            index_interval_bytes: read.bytes("index.interval.bytes")?,
            max_decompressed_message_bytes: read.count("max.decompressed.message.bytes")?,
            max_message_bytes: read.count("max.message.bytes")?,
            timestamp_after_max: read.millis("message.timestamp.after.max.ms")?,
            timestamp_before_max: read.millis("message.timestamp.before.max.ms")?,
            timestamp_type: match read.text("message.timestamp.type")?.as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_insync_replicas: read.count("min.insync.replicas")?,
            retention_bytes: u64::try_from(read.integer("retention.bytes")?).ok(),
            retention: u64::try_from(read.integer("retention.ms")?)
                .ok()
                .map(Duration::from_millis),
            segment_bytes: read.bytes("segment.bytes")?,
            segment_index_bytes: read.bytes("segment.index.bytes")?,
            segment_jitter: read.millis("segment.jitter.ms")?,
            segment_age: read.millis("segment.ms")?,
            unclean_leader_election: read.boolean("unclean.leader.election.enable")?,
            write_caching: read.boolean("write.caching")?,
        })
    }
}

/// The value of a topic config in text form and in the topic's unit; `None` for null.
///
/// # Errors
/// When a synonym in another unit is not a number.
pub(super) fn effective(
    definition: &'static Definition,
    topic: &Values,
    broker: &BrokerLayers<'_>,
) -> Result<Option<String>, ConfigError> {
    if let Some(own) = topic.get(definition.name) {
        return Ok(Some(own.clone()));
    }
    match broker.found(topic_synonyms(definition.name)).first() {
        None => Ok(definition.default.map(ToOwned::to_owned)),
        Some(found) if found.synonym.scale == 1 => Ok(Some(found.value.to_owned())),
        Some(found) => match found.value.trim().parse::<i64>() {
            // A negative value means "never" in every unit.
            Ok(number) if number < 0 => Ok(Some("-1".to_owned())),
            Ok(number) => Ok(Some(number.saturating_mul(found.synonym.scale).to_string())),
            Err(_) => Err(ConfigError::invalid(found.synonym.key, found.value, "not a number")),
        },
    }
}

struct Reader<'a> {
    topic: &'a Values,
    broker: &'a BrokerLayers<'a>,
}

impl Reader<'_> {
    fn value(&self, key: &'static str) -> Result<Value, ConfigError> {
        let definition = topic_definition(key).ok_or_else(|| ConfigError::unknown("topic", key))?;
        let text = effective(definition, self.topic, self.broker)?.unwrap_or_default();
        definition.parse(&text)
    }

    fn integer(&self, key: &'static str) -> Result<i64, ConfigError> {
        match self.value(key)? {
            Value::Integer(number) => Ok(number),
            other => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a number")),
        }
    }

    fn count(&self, key: &'static str) -> Result<usize, ConfigError> {
        Ok(usize::try_from(self.integer(key)?).unwrap_or_default())
    }

    fn bytes(&self, key: &'static str) -> Result<u32, ConfigError> {
        Ok(u32::try_from(self.integer(key)?).unwrap_or_default())
    }

    fn millis(&self, key: &'static str) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(
            u64::try_from(self.integer(key)?).unwrap_or_default(),
        ))
    }

    fn boolean(&self, key: &'static str) -> Result<bool, ConfigError> {
        Ok(self.value(key)? == Value::Boolean(true))
    }

    fn text(&self, key: &'static str) -> Result<String, ConfigError> {
        match self.value(key)? {
            Value::Text(text) => Ok(text),
            other => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a text")),
        }
    }

    fn list(&self, key: &'static str) -> Result<Vec<String>, ConfigError> {
        match self.value(key)? {
            Value::List(items) => Ok(items),
            other => Err(ConfigError::invalid(key, &format!("{other:?}"), "not a list")),
        }
    }

    fn level(&self, key: &'static str) -> Result<i32, ConfigError> {
        Ok(i32::try_from(self.integer(key)?).unwrap_or_default())
    }

    fn compression(&self) -> Result<Compression, ConfigError> {
        Ok(match self.text("compression.type")?.as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip {
                level: self.level("compression.gzip.level")?,
            },
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4 {
                level: self.level("compression.lz4.level")?,
            },
            "zstd" => Compression::Zstd {
                level: self.level("compression.zstd.level")?,
            },
            _ => Compression::Producer,
        })
    }
}
