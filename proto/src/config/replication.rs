//! What followers obey when they copy from leaders.

use std::time::Duration;

use crate::config::{ConfigError, ConfigReader};

/// `replica.selector.class` that sends consumers to a replica of their own rack.
pub const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// `replica.selector.class` that sends consumers to the leader, as without any.
pub const LEADER_SELECTOR: &str = "org.apache.kafka.common.replica.LeaderSelector";

/// Copying from leaders, and reading from followers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// `replica.fetch.backoff.ms`: longest rest of a partition, or of a follower, after failed fetches.
    pub fetch_backoff: Duration,
    /// `replica.fetch.max.bytes`: per partition.
    pub fetch_max_bytes: i32,
    /// `replica.fetch.min.bytes`
    pub fetch_min_bytes: i32,
    /// `replica.fetch.response.max.bytes`
    pub fetch_response_max_bytes: i32,
    /// `replica.fetch.wait.max.ms`
    pub fetch_max_wait: Duration,
    /// `replica.socket.timeout.ms`
    pub socket_timeout: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_interval: Duration,
    /// `replica.selector.class`: consumers read from a replica of their own rack.
    pub rack_aware: bool,
    /// `stray.retention.ms`
    pub stray_retention: Duration,
}

impl ReplicationConfig {
    pub(super) fn read(read: &ConfigReader<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            fetch_backoff: read.millis("replica.fetch.backoff.ms")?,
            fetch_max_bytes: read.number("replica.fetch.max.bytes")?,
            fetch_min_bytes: read.number("replica.fetch.min.bytes")?,
            fetch_response_max_bytes: read.number("replica.fetch.response.max.bytes")?,
            fetch_max_wait: read.millis("replica.fetch.wait.max.ms")?,
            socket_timeout: read.millis("replica.socket.timeout.ms")?,
            high_watermark_checkpoint_interval: read.millis("replica.high.watermark.checkpoint.interval.ms")?,
            rack_aware: read.text("replica.selector.class")?.as_deref() == Some(RACK_AWARE_SELECTOR),
            stray_retention: read.millis("stray.retention.ms")?,
        })
    }
}
