//! What all partitions of a topic share: its names and its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use highwater_proto::config::{Compression, TimestampType, TopicConfig};
use highwater_proto::kafka::ByteStr;
use highwater_proto::record;
use highwater_proto::types::TopicId;

use crate::log::LogConfig;
use crate::records::{CompressionTarget, ValidationRules};
use crate::replica::ReplicaConfig;

/// A topic that this broker has partitions of.
#[derive(Debug)]
pub struct TopicState {
    name: ByteStr,
    id: TopicId,
    settings: ArcSwap<TopicSettings>,
    metrics: TopicMetrics,
}

/// What is counted per topic, or over all topics.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Bytes of batches that producers sent.
    pub bytes_in: AtomicU64,
    /// Records in them.
    pub messages_in: AtomicU64,
    /// Bytes of batches that were fetched.
    pub bytes_out: AtomicU64,
    /// Partitions of produce requests.
    pub produce_requests: AtomicU64,
    /// Those that failed.
    pub failed_produce_requests: AtomicU64,
    /// Partitions of fetch responses.
    pub fetch_requests: AtomicU64,
    /// Those that failed.
    pub failed_fetch_requests: AtomicU64,
}

impl TopicMetrics {
    pub(crate) fn produced(&self, bytes: u64, records: u64) {
        self.produce_requests.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.messages_in.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn produce_failed(&self) {
        self.produce_requests.fetch_add(1, Ordering::Relaxed);
        self.failed_produce_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fetched(&self, bytes: u64, failed: bool) {
        self.fetch_requests.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        if failed {
            self.failed_fetch_requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The topic's configuration in the forms in which it is used.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// For the log.
    pub log: Arc<LogConfig>,
    /// For the batches that producers send.
    pub rules: ValidationRules,
    /// For the replicas.
    pub replica: ReplicaConfig,
    /// `file.delete.delay.ms`
    pub file_delete_delay: Duration,
    /// When the log is flushed although writes are cached.
    pub cached_flush: CachedFlush,
}

/// `flush.messages` and `flush.ms`: what bounds the records that are not on disk with write caching. Without it every
/// append is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedFlush {
    /// Records after which the log is flushed.
    pub messages: i64,
    /// Time after which it is, looked at once a second.
    pub interval: Duration,
}

impl Default for CachedFlush {
    /// Kafka's defaults: never.
    fn default() -> Self {
        Self {
            messages: i64::MAX,
            interval: Duration::MAX,
        }
    }
}

impl TopicState {
    /// A topic.
    #[must_use]
    pub fn new(name: &str, id: TopicId, settings: TopicSettings) -> Self {
        Self {
            name: ByteStr::from(name),
            id,
            settings: ArcSwap::from_pointee(settings),
            metrics: TopicMetrics::default(),
        }
    }

    /// Its name, cheap to clone into answers.
    #[must_use]
    pub fn name(&self) -> &ByteStr {
        &self.name
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// Its configuration.
    #[must_use]
    pub fn settings(&self) -> Guard<Arc<TopicSettings>> {
        self.settings.load()
    }

    /// What is counted for it.
    #[must_use]
    pub fn metrics(&self) -> &TopicMetrics {
        &self.metrics
    }

    pub(crate) fn configure(&self, settings: TopicSettings) {
        self.settings.store(Arc::new(settings));
    }
}

impl TopicSettings {
    /// The settings that follow from a topic's configuration.
    #[must_use]
    pub fn new(config: &TopicConfig, producer_id_expiration: Duration, replica_lag_time_max: Duration) -> Self {
        let log = LogConfig {
            segment_bytes: u64::from(config.segment_bytes),
            segment_ms: config.segment_age,
            segment_jitter: config.segment_jitter,
            segment_index_bytes: u64::from(config.segment_index_bytes),
            index_interval_bytes: u64::from(config.index_interval_bytes),
            retention_ms: config.retention,
            retention_bytes: config.retention_bytes,
            delete: config.cleanup_delete,
            compact: config.cleanup_compact,
            producer_id_expiration,
            write_caching: config.write_caching,
            ..LogConfig::default()
        };
        let rules = ValidationRules {
            compacted: config.cleanup_compact,
            timestamp_type: match config.timestamp_type {
                TimestampType::CreateTime => record::TimestampType::CreateTime,
                TimestampType::LogAppendTime => record::TimestampType::LogAppendTime,
            },
            before_max_ms: millis(config.timestamp_before_max),
            after_max_ms: millis(config.timestamp_after_max),
            max_message_bytes: config.max_message_bytes,
            max_decompressed_record_bytes: config.max_decompressed_message_bytes,
            compression: compression_target(config.compression),
        };
        let replica = ReplicaConfig {
            min_insync_replicas: config.min_insync_replicas,
            replica_lag_time_max,
        };
        Self {
            log: Arc::new(log),
            rules,
            replica,
            file_delete_delay: config.file_delete_delay,
            cached_flush: CachedFlush {
                messages: config.flush_messages,
                interval: config.flush_interval,
            },
        }
    }
}

impl Default for TopicSettings {
    /// Kafka's defaults.
    fn default() -> Self {
        let replica = ReplicaConfig {
            min_insync_replicas: 1,
            replica_lag_time_max: Duration::from_secs(30),
        };
        Self {
            log: Arc::default(),
            rules: ValidationRules::default(),
            replica,
            file_delete_delay: Duration::from_secs(60),
            cached_flush: CachedFlush::default(),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The codec that batches are brought into; `None` keeps what the producer chose.
fn compression_target(compression: Compression) -> Option<CompressionTarget> {
    let (codec, level) = match compression {
        Compression::Producer => return None,
        Compression::Uncompressed => (record::Compression::None, 0),
        Compression::Gzip { level } => (record::Compression::Gzip, level),
        Compression::Snappy => (record::Compression::Snappy, 0),
        Compression::Lz4 { level } => (record::Compression::Lz4, level),
        Compression::Zstd { level } => (record::Compression::Zstd, level),
    };
    Some(CompressionTarget { codec, level })
}
