//! What a group coordinator can be told. Names and defaults are Apache Kafka's.

use std::time::Duration;

/// Settings of group shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`: how long the first join of an empty group waits for others.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout: Duration,
    /// `group.max.size`: members of one group.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: UTF-16 units of the text that goes with a committed offset.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
    /// Bytes that the records of one request may take: they go into one batch, which has to fit `max.message.bytes` of
    /// `__consumer_offsets`.
    pub max_append_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            max_size: i32::MAX as usize,
            offset_metadata_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
            max_append_bytes: 1024 * 1024 - 1024,
        }
    }
}

/// A new member whose first JoinGroup stays parked this long is dropped (Kafka's fixed five minutes): it cannot
/// heartbeat, because it does not know its member id yet.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Member ids handed out to a group that have not joined with it yet. Bounds what clients that never come back cost.
pub(super) const MAX_PENDING_MEMBERS: usize = 10_000;
