//! What a coordinator can be told.

use std::time::Duration;

use highwater_proto::types::NodeId;

use crate::shard::ShardConfig;

/// Settings of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// `node.id`, as the controller registered it.
    pub node_id: NodeId,
    /// Settings of its shards.
    pub shard: ShardConfig,
    /// How often consumer lag is looked at.
    pub lag_interval: Duration,
    /// How long a forwarded request waits for the image that its sender had.
    pub image_timeout: Duration,
    /// How long a clean stop waits for what is in flight.
    pub release_timeout: Duration,
}

impl CoordinatorConfig {
    /// Kafka's defaults.
    #[must_use]
    pub fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            shard: ShardConfig::default(),
            lag_interval: Duration::from_secs(10),
            image_timeout: Duration::from_secs(2),
            release_timeout: Duration::from_secs(2),
        }
    }
}
