//! Counters of the broker. Cheap to touch: plain atomics, indexed by API key. Rendered by [`collector`].

mod collector;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_node::telemetry;
use highwater_proto::kafka::ApiKey;

use crate::api::ServedApi;
use crate::broker::Broker;
use crate::partition::TopicMetrics;

pub use self::collector::BrokerCollector;

/// API keys are below this.
const API_SLOTS: usize = 128;
/// Bounds of the latency histogram, in microseconds: doubling from 50 us to 26 s.
const LATENCY_BUCKETS: usize = 20;
const FIRST_BUCKET_MICROS: u64 = 50;

/// What the broker counts.
#[derive(Debug)]
pub struct Metrics {
    apis: Vec<ApiMetrics>,
    all_topics: TopicMetrics,
}

/// What is counted per API.
#[derive(Debug, Default)]
pub(crate) struct ApiMetrics {
    pub(crate) requests: AtomicU64,
    pub(crate) request_bytes: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
    pub(crate) total_micros: AtomicU64,
    /// Requests by time; the last one is for all that took longer.
    pub(crate) latency: [AtomicU64; LATENCY_BUCKETS + 1],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            apis: (0..API_SLOTS).map(|_| ApiMetrics::default()).collect(),
            all_topics: TopicMetrics::default(),
        }
    }
}

impl Metrics {
    /// Adds a broker's metrics to those of its process.
    pub fn register(&self, registry: &telemetry::Metrics, broker: &Arc<Broker>) {
        registry.register_collector(BrokerCollector::new(Arc::downgrade(broker)));
    }

    /// A request was answered.
    pub(crate) fn request(&self, api: &ServedApi, total: Duration, request_bytes: usize, response_bytes: usize) {
        let Some(metrics) = self.api(api.key) else { return };
        metrics.requests.fetch_add(1, Ordering::Relaxed);
        metrics.request_bytes.fetch_add(request_bytes as u64, Ordering::Relaxed);
        metrics
            .response_bytes
            .fetch_add(response_bytes as u64, Ordering::Relaxed);
        let micros = u64::try_from(total.as_micros()).unwrap_or(u64::MAX);
        metrics.total_micros.fetch_add(micros, Ordering::Relaxed);
        metrics.latency[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Topics together.
    pub(crate) fn all_topics(&self) -> &TopicMetrics {
        &self.all_topics
    }

    pub(crate) fn api(&self, key: ApiKey) -> Option<&ApiMetrics> {
        self.apis.get(usize::try_from(key.code()).ok()?)
    }
}

/// The bucket of a request that took so long.
fn bucket(micros: u64) -> usize {
    let doublings = micros
        .div_ceil(FIRST_BUCKET_MICROS)
        .max(1)
        .next_power_of_two()
        .trailing_zeros();
    (doublings as usize).min(LATENCY_BUCKETS)
}

/// Upper bound of a bucket in seconds.
fn bucket_bound(bucket: usize) -> f64 {
    (FIRST_BUCKET_MICROS << bucket) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_falls_into_the_first_bucket_that_holds_it() {
        for (micros, expected) in [
            (0, 0),
            (50, 0),
            (51, 1),
            (100, 1),
            (101, 2),
            (u64::MAX / 2, LATENCY_BUCKETS),
        ] {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
        assert!((bucket_bound(1) - 0.0001).abs() < 1e-12);
    }
}
