//! What a coordinator tells of its shards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_node::telemetry::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::runtime::Runtime;
use crate::shard::ShardState;

/// Counted as it happens.
#[derive(Clone, Debug)]
pub(crate) struct ShardMetrics {
    load_seconds: Histogram,
}

impl ShardMetrics {
    pub(crate) fn new() -> Self {
        Self {
            // 1 ms to 32 s
            load_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        }
    }

    pub(crate) fn register(&self, metrics: &Metrics, runtime: &Arc<Runtime>) {
        let help = "Time from the assignment of a shard, or the loss of its leader, until it was served";
        let name = "highwater_coordinator_shard_load_seconds";
        metrics.register(name, help, self.load_seconds.clone());
        metrics.register_collector(ShardStates(Arc::clone(runtime)));
    }

    pub(crate) fn loaded(&self, took: Duration) {
        self.load_seconds.observe(took.as_secs_f64());
    }
}

/// How many shards are doing what, at the time of a scrape.
struct ShardStates(Arc<Runtime>);

impl fmt::Debug for ShardStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardStates").finish_non_exhaustive()
    }
}

impl Collector for ShardStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards = self.0.states();
        let name = "highwater_coordinator_shards";
        let help = "Shards that this coordinator owns, by what they are doing";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (label, state) in [
            ("loading", ShardState::Loading),
            ("serving", ShardState::Serving),
            ("released", ShardState::Idle),
            ("failed", ShardState::Failed),
        ] {
            let count = shards.iter().filter(|(_, it)| *it == state).count();
            let labels = [("state", label)];
            ConstGauge::new(count as f64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
