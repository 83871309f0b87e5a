//! Counters of the broker. Cheap to touch: plain atomics, indexed by API key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::ServedApi;

/// API keys are below this.
const API_SLOTS: usize = 128;

/// What the broker counts.
#[derive(Debug)]
pub struct Metrics {
    apis: Vec<ApiMetrics>,
}

#[derive(Debug, Default)]
struct ApiMetrics {
    requests: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    total_micros: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            apis: (0..API_SLOTS).map(|_| ApiMetrics::default()).collect(),
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn request(&self, api: &ServedApi, total: Duration, request_bytes: usize, response_bytes: usize) {
        let Some(metrics) = usize::try_from(api.key.code())
            .ok()
            .and_then(|slot| self.apis.get(slot))
        else {
            return;
        };
        metrics.requests.fetch_add(1, Ordering::Relaxed);
        metrics.request_bytes.fetch_add(request_bytes as u64, Ordering::Relaxed);
        metrics
            .response_bytes
            .fetch_add(response_bytes as u64, Ordering::Relaxed);
        let micros = u64::try_from(total.as_micros()).unwrap_or(u64::MAX);
        metrics.total_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
