//! Metrics of the process itself, under the names that every Prometheus client uses.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;

/// Reads `/proc` at each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    start_seconds: f64,
}

impl ProcessCollector {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            start_seconds: clock.now_ms().get() as f64 / 1000.0,
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = ConstCounter::new(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        let help = "CPU time used, by the process and the kernel for it, in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            }
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |key| field(&status, key).map(|kilobytes| kilobytes * 1024.0);
        gauge("process_resident_memory_bytes", "Memory in use", kilobytes("VmRSS:"))?;
        gauge(
            "process_virtual_memory_bytes",
            "Address space in use",
            kilobytes("VmSize:"),
        )?;
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let disk = "kafka_server_kafkaserver_linux_disk";
        let (read, written) = (field(&io, "read_bytes:"), field(&io, "write_bytes:"));
        gauge(&format!("{disk}_read_bytes"), "Bytes read from disks", read)?;
        gauge(&format!("{disk}_write_bytes"), "Bytes written to disks", written)?;
        gauge("process_threads", "Threads", field(&status, "Threads:"))?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        gauge(
            "process_max_fds",
            "Limit of open file descriptors",
            field(&limits, "Max open files"),
        )?;
        gauge(
            "process_start_time_seconds",
            "Start, in seconds since 1970",
            Some(self.start_seconds),
        )
    }
}

/// The number that follows a key at the start of a line.
fn field(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn open_files() -> Option<f64> {
    // The directory itself is open while it is read.
    fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| entries.count().saturating_sub(1) as f64)
}
