//! The part of a topic's configuration that its logs obey.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use highwater_proto::types::{Offset, TopicId};

/// Topic configuration as the log needs it. Shared by all partitions of a topic; field names are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment never grows beyond it.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed at the first append whose records are this much younger than its first.
    pub segment_ms: Duration,
    /// `segment.jitter.ms`: each segment takes a share of it off `segment.ms`.
    pub segment_jitter: Duration,
    /// `segment.index.bytes`: size of an index file at which its segment is closed.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`: bytes of log per entry of the sparse indexes.
    pub index_interval_bytes: u64,
    /// `retention.ms`; None keeps for ever (Kafka's -1).
    pub retention_ms: Option<Duration>,
    /// `retention.bytes`; None for no limit (Kafka's -1).
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `max.compaction.lag.ms`, which also closes segments of compacted topics.
    pub max_compaction_lag: Duration,
    /// `producer.id.expiration.ms` of the broker.
    pub producer_id_expiration: Duration,
    /// `write.caching`: an append counts as flushed at once.
    pub write_caching: bool,
}

impl Default for LogConfig {
    /// Kafka's defaults, and ours for `write.caching`.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: Duration::from_millis(604_800_000),
            segment_jitter: Duration::ZERO,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(Duration::from_millis(604_800_000)),
            retention_bytes: None,
            delete: true,
            compact: false,
            max_compaction_lag: Duration::from_millis(i64::MAX as u64),
            producer_id_expiration: Duration::from_millis(86_400_000),
            write_caching: false,
        }
    }
}

impl LogConfig {
    /// Age in milliseconds of event time at which the segment of a partition that starts at `base` is closed. Its share
    /// of the jitter follows from its name, so that it stays what it is.
    pub(super) fn roll_ms(&self, topic: TopicId, partition: &str, base: Offset) -> i64 {
        let mut limit = self.segment_ms;
        if !self.segment_jitter.is_zero() {
            let mut hasher = DefaultHasher::new();
            (topic.0, partition, base.0).hash(&mut hasher);
            let share = f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX);
            limit = limit.saturating_sub(self.segment_jitter.mul_f64(share));
        }
        if self.compact {
            limit = limit.min(self.max_compaction_lag);
        }
        millis(limit)
    }
}

/// Whole milliseconds, at most what a timestamp can express.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
