//! The controller's metrics, under the names of Kafka's controller in the JMX exporter. Figures of the cluster are
//! counted at each scrape, from the image.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use highwater_node::telemetry::Metrics;
use highwater_proto::metadata::{MetadataImage, NodeDuty};
use highwater_proto::types::NodeId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::service::office::{Office, Role};

/// Bounds of the histogram of commits, in seconds.
const COMMIT_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What is counted while deciding.
#[derive(Clone)]
pub(crate) struct DecisionMetrics {
    pub(crate) unclean_elections: Counter,
    pub(crate) commit_seconds: Histogram,
}

impl DecisionMetrics {
    pub(crate) fn new() -> Self {
        Self {
            unclean_elections: Counter::default(),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
        }
    }
}

pub(crate) fn register(metrics: &Metrics, office: &Arc<Office>) {
    let decisions = &office.metrics;
    metrics.register(
        "kafka_controller_controllerstats_uncleanleaderelections",
        "Elections of leaders that may lack acknowledged records",
        decisions.unclean_elections.clone(),
    );
    metrics.register(
        "highwater_controller_commit_seconds",
        "Time that the metadata store took for a transaction",
        decisions.commit_seconds.clone(),
    );
    metrics.register_collector(ClusterCollector {
        office: Arc::clone(office),
    });
}

struct ClusterCollector {
    office: Arc<Office>,
}

impl fmt::Debug for ClusterCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterCollector")
    }
}

impl Collector for ClusterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let image = self.office.updates.image();
        let mut gauge = |name: &str, help: &str, value: usize| {
            let gauge = ConstGauge::new(value as f64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let counts = Counts::of(&image);
        gauge(
            "kafka_controller_kafkacontroller_activecontrollercount",
            "1 on the controller that decides, 0 on standbys",
            usize::from(matches!(*self.office.role.borrow(), Role::Active(_))),
        )?;
        gauge(
            "kafka_controller_kafkacontroller_activebrokercount",
            "Brokers that are not fenced",
            counts.live_brokers,
        )?;
        gauge(
            "kafka_controller_kafkacontroller_fencedbrokercount",
            "Brokers that are fenced",
            counts.fenced_brokers,
        )?;
        gauge(
            "kafka_controller_kafkacontroller_globaltopiccount",
            "Topics",
            image.topic_count(),
        )?;
        gauge(
            "kafka_controller_kafkacontroller_globalpartitioncount",
            "Partitions",
            counts.partitions,
        )?;
        gauge(
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            "Partitions without a leader",
            counts.offline_partitions,
        )?;
        gauge(
            "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
            "Partitions that are led by another than their first replica",
            counts.not_preferred,
        )?;
        gauge(
            "highwater_controller_reassigning_partitions",
            "Partitions with replicas that join or leave",
            counts.reassigning,
        )?;
        gauge(
            "highwater_controller_replicas_to_drain",
            "Replicas on brokers that are decommissioned",
            counts.to_drain,
        )?;
        gauge(
            "highwater_controller_rebalance_wanted",
            "1 while replicas and leaders are evened out over the brokers",
            usize::from(image.rebalance.wanted),
        )?;
        let revision = usize::try_from(image.revision.get()).unwrap_or(0);
        gauge(
            "highwater_controller_metadata_revision",
            "Revision of the metadata",
            revision,
        )
    }
}

#[derive(Default)]
struct Counts {
    live_brokers: usize,
    fenced_brokers: usize,
    partitions: usize,
    offline_partitions: usize,
    not_preferred: usize,
    reassigning: usize,
    to_drain: usize,
}

impl Counts {
    fn of(image: &MetadataImage) -> Self {
        let mut counts = Self {
            live_brokers: image.live_brokers().count(),
            ..Self::default()
        };
        let drains = image.brokers().filter(|node| node.duty == NodeDuty::Draining);
        let draining: BTreeSet<NodeId> = drains.map(|node| node.id).collect();
        counts.fenced_brokers = image.brokers().count() - counts.live_brokers;
        for partition in image.topics().flat_map(|topic| &topic.partitions) {
            counts.partitions += 1;
            counts.offline_partitions += usize::from(partition.leader.is_none());
            counts.reassigning += usize::from(partition.is_reassigning());
            if !draining.is_empty() {
                let leaving = partition.replicas.iter().filter(|node| draining.contains(node));
                counts.to_drain += leaving.count();
            }
            counts.not_preferred += usize::from(partition.leader != partition.replicas.first().copied());
        }
        counts
    }
}
