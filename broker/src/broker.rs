//! The broker as a whole: what all requests share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_proto::metadata::MetadataImage;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::connection::BUDGET_UNIT_BYTES;
use crate::listener::{self, ConnectionCounts};
use crate::metrics::Metrics;

/// Least budget of request memory; large enough for the largest request twice.
const MIN_REQUEST_MEMORY_BYTES: usize = 256 << 20;
/// Blocking threads that read from disk for connections at a time.
const MAX_COLD_READS: usize = 16;

/// Bounds of what clients may take.
#[derive(Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`
    pub max_request_bytes: usize,
    /// `max.connections`
    pub max_connections: usize,
    /// `max.connections.per.ip`
    pub max_connections_per_ip: usize,
    /// `connections.max.idle.ms`
    pub max_idle: Duration,
    /// Memory for large requests, in units of [`BUDGET_UNIT_BYTES`].
    pub(crate) request_memory: Arc<Semaphore>,
    request_memory_units: usize,
    /// Bounds the blocking threads that read cold data.
    pub(crate) cold_reads: Arc<Semaphore>,
}

impl Limits {
    fn new(
        max_request_bytes: usize,
        max_connections: usize,
        max_connections_per_ip: usize,
        max_idle: Duration,
    ) -> Self {
        let units = MIN_REQUEST_MEMORY_BYTES.max(2 * max_request_bytes) / BUDGET_UNIT_BYTES;
        Self {
            max_request_bytes,
            max_connections,
            max_connections_per_ip,
            max_idle,
            request_memory: Arc::new(Semaphore::new(units)),
            request_memory_units: units,
            cold_reads: Arc::new(Semaphore::new(MAX_COLD_READS)),
        }
    }

    /// True while less than a quarter of the request memory is free.
    pub(crate) fn request_memory_is_short(&self) -> bool {
        self.request_memory.available_permits() < self.request_memory_units / 4
    }
}

/// A broker.
#[derive(Debug)]
pub struct Broker {
    image: ArcSwap<MetadataImage>,
    limits: Limits,
    connections: Arc<ConnectionCounts>,
    metrics: Metrics,
    clock: Clock,
    shutdown: Shutdown,
}

impl Broker {
    /// Serves the clients of a listener until the broker stops.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, name: &str) {
        listener::serve(Arc::clone(self), listener, name.into()).await;
    }

    /// The image that the partitions of this broker follow: what it says has been carried out here.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    /// Bounds of what clients may take.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The wish to stop.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub(crate) fn connections(&self) -> &Arc<ConnectionCounts> {
        &self.connections
    }
}
