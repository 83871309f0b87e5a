//! The broker's metrics as a scrape sees them, under the names that the JMX exporter gives to Kafka's, so that existing
//! dashboards and alerts work. What Kafka has no name for starts with `highwater_`.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::idle::Workers;
use super::{Metrics, replication};
use crate::api::SERVED;
use crate::broker::Broker;
use crate::disk_limit;
use crate::latency::Latency as Histogram;
use crate::partition::TopicMetrics;

/// Reads a broker's counters at each scrape.
#[derive(Debug)]
pub struct BrokerCollector {
    broker: Weak<Broker>,
    workers: Option<Workers>,
}

impl BrokerCollector {
    /// A collector for as long as the broker lives.
    #[must_use]
    pub fn new(broker: Weak<Broker>) -> Self {
        Self {
            broker,
            workers: Workers::of_runtime(),
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// One value with its labels.
pub(super) struct Sample(Labels, f64);

/// A family of samples of one kind.
struct Family<'a> {
    kind: MetricType,
    samples: &'a [Sample],
}

impl EncodeMetric for Family<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for Sample(labels, value) in self.samples {
            if labels.is_empty() {
                encode_value(&mut encoder, self.kind, *value)?;
            } else {
                encode_value(&mut encoder.encode_family(labels)?, self.kind, *value)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

fn encode_value(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => encoder.encode_counter::<Labels, f64, f64>(&value, None),
        // Counters whose names Kafka's dashboards know without `_total`, which the format adds to those it calls so.
        _ => encoder.encode_gauge(&value),
    }
}

/// The latency of one API as a histogram.
struct Latency<'a>(&'a Metrics);

impl EncodeMetric for Latency<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for served in SERVED {
            let Some(api) = self.0.api(served.key) else { continue };
            let total = api.total_time.count();
            if total == 0 {
                continue;
            }
            let labels: Labels = vec![("request", format!("{:?}", served.key))];
            let seconds = api.total_time.total().as_secs_f64();
            let buckets = api.total_time.buckets();
            encoder
                .encode_family(&labels)?
                .encode_histogram::<Labels>(seconds, total, &buckets, None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Collector for BrokerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(broker) = self.broker.upgrade() else {
            return Ok(());
        };
        encode_requests(broker.metrics(), &mut encoder)?;
        encode_topics(&broker, &mut encoder)?;
        replication::encode(&broker, &mut encoder)?;
        encode_logs(&broker, &mut encoder)?;
        let connections = [sample([], broker.connections().total() as f64)];
        family(
            &mut encoder,
            "kafka_server_socket_server_metrics_connection_count",
            "Open client connections",
            MetricType::Gauge,
            &connections,
        )?;
        if let Some(workers) = &self.workers {
            let idle = [sample([], workers.idle())];
            for name in [
                "kafka_network_socketserver_networkprocessoravgidle_percent",
                "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
            ] {
                let help = "Share of their time in which the workers had nothing to do, from 0 to 1";
                family(&mut encoder, name, help, MetricType::Gauge, &idle)?;
            }
        }
        let sessions = [sample([], broker.fetch_sessions().len() as f64)];
        family(
            &mut encoder,
            "kafka_server_fetchsessioncache_numincrementalfetchsessions",
            "Fetch sessions",
            MetricType::Gauge,
            &sessions,
        )
    }
}

pub(super) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn sample<const N: usize>(labels: [(&'static str, String); N], value: f64) -> Sample {
    Sample(labels.into(), value)
}

pub(super) fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    samples: &[Sample],
) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let family = Family { kind, samples };
    family.encode(encoder.encode_descriptor(name, help, None, kind)?)
}

fn encode_requests(metrics: &Metrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let of = |value: fn(&super::ApiMetrics) -> &AtomicU64| -> Vec<Sample> {
        SERVED
            .iter()
            .filter_map(|served| {
                let api = metrics.api(served.key)?;
                let used = load(&api.requests) > 0;
                used.then(|| sample([("request", format!("{:?}", served.key))], load(value(api)) as f64))
            })
            .collect()
    };
    let counter = MetricType::Counter;
    family(
        encoder,
        "kafka_network_requestmetrics_requests",
        "Requests answered",
        counter,
        &of(|api| &api.requests),
    )?;
    family(
        encoder,
        "kafka_network_requestmetrics_requestbytes",
        "Bytes of requests",
        counter,
        &of(|api| &api.request_bytes),
    )?;
    family(
        encoder,
        "kafka_network_requestmetrics_responsebytes",
        "Bytes of responses",
        counter,
        &of(|api| &api.response_bytes),
    )?;
    encode_errors(metrics, encoder)?;
    encode_total_times(metrics, encoder)?;
    let latency = Latency(metrics);
    let name = "highwater_request_duration_seconds";
    latency.encode(encoder.encode_descriptor(
        name,
        "Time from a request's arrival to its answer",
        None,
        MetricType::Histogram,
    )?)
}

fn encode_errors(metrics: &Metrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let errors: Vec<Sample> = metrics
        .errors()
        .into_iter()
        .map(|((api, error), count)| {
            sample(
                [("request", format!("{api:?}")), ("error", error.to_string())],
                count as f64,
            )
        })
        .collect();
    let name = "kafka_network_requestmetrics_errors";
    family(encoder, name, "Errors in answers", MetricType::Counter, &errors)
}

fn encode_total_times(metrics: &Metrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (mut samples, mut counts) = (Vec::new(), Vec::new());
    for served in SERVED {
        let Some(api) = metrics.api(served.key).filter(|api| api.total_time.count() > 0) else {
            continue;
        };
        let labels = [("request", format!("{:?}", served.key))];
        samples.extend(quantiles(&api.total_time, &labels));
        counts.push(sample(labels, api.total_time.count() as f64));
    }
    let help = "Milliseconds from a request's arrival to its answer, over the last minute";
    family(
        encoder,
        "kafka_network_requestmetrics_totaltimems",
        help,
        MetricType::Gauge,
        &samples,
    )?;
    let name = "kafka_network_requestmetrics_totaltimems_count";
    family(encoder, name, "Requests that were timed", MetricType::Unknown, &counts)
}

fn quantiles(latency: &Histogram, labels: &[(&'static str, String)]) -> Vec<Sample> {
    const SHARES: [(f64, &str); 4] = [(0.5, "0.50"), (0.95, "0.95"), (0.99, "0.99"), (0.999, "0.999")];
    let values = latency.quantiles(SHARES.map(|(share, _)| share), tokio::time::Instant::now());
    SHARES
        .iter()
        .zip(values)
        .map(|((_, name), value)| {
            let mut labels = labels.to_vec();
            labels.push(("quantile", (*name).to_owned()));
            Sample(labels, value)
        })
        .collect()
}

fn encode_topics(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    type Value = fn(&TopicMetrics) -> &AtomicU64;
    let families: [(&str, &str, Value); 7] = [
        ("bytesin", "Bytes of batches produced", |it| &it.bytes_in),
        ("messagesin", "Records produced", |it| &it.messages_in),
        ("bytesout", "Bytes of batches fetched", |it| &it.bytes_out),
        ("totalproducerequests", "Partitions of produce requests", |it| {
            &it.produce_requests
        }),
        (
            "failedproducerequests",
            "Partitions of produce requests that failed",
            |it| &it.failed_produce_requests,
        ),
        ("totalfetchrequests", "Partitions of fetch responses", |it| {
            &it.fetch_requests
        }),
        (
            "failedfetchrequests",
            "Partitions of fetch responses that failed",
            |it| &it.failed_fetch_requests,
        ),
    ];
    let topics = broker.partitions().topic_states();
    for (name, help, value) in families {
        let mut samples = vec![sample([], load(value(broker.metrics().all_topics())) as f64)];
        samples.extend(topics.iter().filter_map(|topic| {
            let count = load(value(topic.metrics()));
            (count > 0).then(|| sample([("topic", topic.name().to_string())], count as f64))
        }));
        let name = format!("kafka_server_brokertopicmetrics_{name}");
        family(encoder, &name, help, MetricType::Counter, &samples)?;
    }
    Ok(())
}

fn encode_logs(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (mut sizes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for partition in broker.partitions().all() {
        let Some(at) = partition.ends() else { continue };
        let labels = || {
            [
                ("topic", partition.topic().name().to_string()),
                ("partition", partition.index().to_string()),
            ]
        };
        sizes.push(sample(labels(), at.size as f64));
        starts.push(sample(labels(), at.log_start.get() as f64));
        ends.push(sample(labels(), at.log_end.get() as f64));
    }
    let gauge = MetricType::Gauge;
    family(
        encoder,
        "kafka_log_log_size",
        "Bytes of a partition on disk",
        gauge,
        &sizes,
    )?;
    family(
        encoder,
        "kafka_log_log_logstartoffset",
        "First offset of a partition",
        gauge,
        &starts,
    )?;
    family(
        encoder,
        "kafka_log_log_logendoffset",
        "Offset after the last record of a partition",
        gauge,
        &ends,
    )?;
    let flushes = broker.partitions().flushes();
    let name = "kafka_log_logflushstats_logflushrateandtimems";
    family(
        encoder,
        name,
        "Milliseconds that a flush takes, over the last minute",
        gauge,
        &quantiles(flushes, &[]),
    )?;
    let counts = [sample([], flushes.count() as f64)];
    let name = "kafka_log_logflushstats_logflushrateandtimems_count";
    family(encoder, name, "Flushes", MetricType::Unknown, &counts)?;
    let failed = u8::from(broker.partitions().log_dir().check().is_err());
    family(
        encoder,
        "kafka_log_logmanager_offlinelogdirectorycount",
        "Data directories whose disk failed",
        gauge,
        &[sample([], f64::from(failed))],
    )?;
    let flusher = broker.partitions().flusher();
    let oldest = [sample([], flusher.oldest_unfinished().as_secs_f64())];
    family(
        encoder,
        "highwater_flush_oldest_unfinished_seconds",
        "Age of the oldest flush that is not done",
        gauge,
        &oldest,
    )?;
    let queued = [sample([], flusher.queued() as f64)];
    family(
        encoder,
        "highwater_flush_queued",
        "Partitions that wait for a flush",
        gauge,
        &queued,
    )?;
    disk_room(encoder, broker)
}

/// The room on the disk, and what it means for producers.
fn disk_room(encoder: &mut DescriptorEncoder<'_>, broker: &Broker) -> fmt::Result {
    let disk = broker.disk();
    if let Some(free) = disk.free() {
        family(
            encoder,
            "highwater_disk_free_bytes",
            "Free room on the data disk",
            MetricType::Gauge,
            &[sample([], free as f64)],
        )?;
    }
    family(
        encoder,
        "highwater_disk_pressure",
        "0: enough room, 1: producers are slowed down, 2: they are refused",
        MetricType::Gauge,
        &[sample([], f64::from(disk_limit::encode(disk.pressure())))],
    )
}
