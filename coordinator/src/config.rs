//! What a coordinator can be told.

use std::time::Duration;

use highwater_node::config::NodeConfig;
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
    /// Partitions whose ends one look at consumer lag asks for; the others are shown without, and counted.
    pub lag_partitions: usize,
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
            lag_partitions: 100_000,
            image_timeout: Duration::from_secs(2),
            release_timeout: Duration::from_secs(2),
        }
    }

    /// What the process was started with.
    #[must_use]
    pub fn of(node_id: NodeId, process: &NodeConfig) -> Self {
        let (groups, offsets) = (&process.broker.groups, &process.broker.offsets);
        let mut config = Self::new(node_id);
        config.shard.commit_timeout = offsets.commit_timeout;
        let group = &mut config.shard.group;
        group.initial_rebalance_delay = groups.initial_rebalance_delay;
        group.min_session_timeout = groups.min_session_timeout;
        group.max_session_timeout = groups.max_session_timeout;
        group.max_size = groups.max_size;
        group.offset_metadata_max = offsets.metadata_max_bytes;
        group.offsets_retention = offsets.retention;
        group.offsets_retention_check_interval = offsets.retention_check_interval;
        config
    }
}
