//! Counters of the broker. Cheap to touch: plain atomics, indexed by API key. Rendered by [`collector`].

mod collector;
mod idle;
mod replication;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_node::telemetry;
use highwater_proto::kafka::{ApiKey, ErrorCode};
use parking_lot::Mutex;

use crate::api::ServedApi;
use crate::broker::Broker;
use crate::latency::Latency;
use crate::partition::TopicMetrics;

pub use self::collector::BrokerCollector;

/// API keys are below this.
const API_SLOTS: usize = 128;

/// What the broker counts.
#[derive(Debug)]
pub struct Metrics {
    apis: Vec<ApiMetrics>,
    all_topics: TopicMetrics,
    /// Bytes that followers fetched.
    replication_bytes_out: AtomicU64,
    /// Errors are rare: a lock is cheap enough.
    errors: Mutex<HashMap<(ApiKey, ErrorCode), u64>>,
}

/// What is counted per API.
#[derive(Debug, Default)]
pub(crate) struct ApiMetrics {
    pub(crate) requests: AtomicU64,
    pub(crate) request_bytes: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
    /// From the arrival of a request to its answer.
    pub(crate) total_time: Latency,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            apis: (0..API_SLOTS).map(|_| ApiMetrics::default()).collect(),
            all_topics: TopicMetrics::default(),
            replication_bytes_out: AtomicU64::new(0),
            errors: Mutex::default(),
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
        metrics.total_time.observe(total);
    }

    /// A follower is sent so many bytes of batches.
    pub(crate) fn replicated(&self, bytes: u64) {
        self.replication_bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An answer carries an error: of a partition, a topic, or the whole request.
    pub fn error(&self, api: ApiKey, error: ErrorCode) {
        self.errors_seen(api, error, 1);
    }

    /// Counts an error code that is in a response so often.
    pub fn errors_seen(&self, api: ApiKey, error: ErrorCode, count: u64) {
        if error != ErrorCode::None {
            *self.errors.lock().entry((api, error)).or_default() += count;
        }
    }

    pub(crate) fn errors(&self) -> Vec<((ApiKey, ErrorCode), u64)> {
        self.errors.lock().iter().map(|(key, count)| (*key, *count)).collect()
    }

    /// Topics together.
    pub(crate) fn all_topics(&self) -> &TopicMetrics {
        &self.all_topics
    }

    pub(crate) fn api(&self, key: ApiKey) -> Option<&ApiMetrics> {
        self.apis.get(usize::try_from(key.code()).ok()?)
    }
}
