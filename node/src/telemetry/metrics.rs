//! The registry of a process's metrics, in Prometheus's text format.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

use crate::clock::Clock;
use crate::telemetry::process::ProcessCollector;

/// All metrics of a process. Clones share them. Names follow the JMX exporter's where Kafka has one, and start with
/// `highwater_` otherwise.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// The content type of [`Self::encode`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A registry with the metrics of the process itself and its version.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::new(clock)));
        let version = prometheus_client::metrics::info::Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("highwater_build", "The version that runs", version);
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds a metric; the caller keeps a clone and counts on it. The name of a counter gets `_total` when it is
    /// rendered, and the help text its full stop.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().register(name, help, metric);
    }

    /// Adds a collector, which is asked at each scrape: for figures that something else keeps anyway.
    pub fn register_collector(&self, collector: impl Collector) {
        self.registry.lock().register_collector(Box::new(collector));
    }

    /// Renders all metrics. Blocks for as long as the collectors take.
    ///
    /// # Errors
    /// When a collector fails.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::types::TimestampMs;
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn what_is_registered_is_rendered_with_its_current_value() {
        let (clock, _) = Clock::manual(TimestampMs(1_700_000_000_000));
        let metrics = Metrics::new(&clock);
        let counter: Counter = Counter::default();
        metrics.register(
            "kafka_server_brokertopicmetrics_bytesin",
            "Bytes produced",
            counter.clone(),
        );
        counter.inc_by(5);
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("\nkafka_server_brokertopicmetrics_bytesin_total 5\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_process_shows_its_memory_cpu_files_and_start() {
        let (clock, _) = Clock::manual(TimestampMs(1_700_000_000_000));
        let text = Metrics::new(&clock).encode().unwrap();
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap_or_else(|| panic!("{name}\n{text}"));
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") > value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert_eq!(value("process_start_time_seconds"), 1_700_000_000.0);
    }
}
