//! The figures as kafka_exporter shows them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::NodeId;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use super::report::{GroupLag, Report, Share, TopicEnds};

/// The last report, shown at each scrape: what has moved to another coordinator since is not.
#[derive(Clone, Debug)]
pub(super) struct LagMetrics {
    report: Arc<Mutex<Arc<Report>>>,
    images: watch::Receiver<Arc<MetadataImage>>,
    coordinator: NodeId,
}

impl LagMetrics {
    pub(super) fn new(coordinator: NodeId, images: watch::Receiver<Arc<MetadataImage>>) -> Self {
        Self {
            report: Arc::default(),
            images,
            coordinator,
        }
    }

    pub(super) fn publish(&self, report: Report) {
        *self.report.lock() = Arc::new(report);
    }
}

type Labels<'a> = [(&'a str, &'a str)];

/// One family of gauges.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    mut write: impl FnMut(&mut dyn FnMut(&Labels<'_>, f64) -> fmt::Result) -> fmt::Result + 'a,
) -> fmt::Result {
    let mut metrics = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    write(&mut |labels, value| match labels {
        [] => metrics.encode_gauge(&value),
        labels => ConstGauge::new(value).encode(metrics.encode_family(&labels)?),
    })
}

impl Collector for LagMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let report = Arc::clone(&self.report.lock());
        let image = Arc::clone(&self.images.borrow());
        let report = report.within(&Share {
            image: &image,
            coordinator: self.coordinator,
        });
        groups(&mut encoder, &report)?;
        sums(&mut encoder, &report)?;
        topics(&mut encoder, &report)?;
        unknown(&mut encoder, &report)?;
        brokers(&mut encoder, &report)
    }
}

fn groups(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    family(
        encoder,
        "kafka_consumergroup_members",
        "Amount of members in a consumer group",
        |write| {
            report
                .members
                .iter()
                .try_for_each(|(_, group, members)| write(&[("consumergroup", group)], *members as f64))
        },
    )?;
    let each = |value: fn(&GroupLag) -> Option<f64>| {
        move |write: &mut dyn FnMut(&Labels<'_>, f64) -> fmt::Result| {
            report.groups.iter().try_for_each(|lag| {
                let partition = lag.partition.to_string();
                let labels = [
                    ("consumergroup", &*lag.group),
                    ("topic", &*lag.topic),
                    ("partition", &*partition),
                ];
                value(lag).map_or(Ok(()), |value| write(&labels, value))
            })
        }
    };
    let name = "kafka_consumergroup_current_offset";
    let help = "Current offset of a consumer group at a topic and partition";
    family(encoder, name, help, each(|lag| Some(lag.current_offset as f64)))?;
    let help = "Records that a consumer group has not consumed yet at a topic and partition";
    family(
        encoder,
        "kafka_consumergroup_lag",
        help,
        each(|lag| lag.lag.map(|lag| lag as f64)),
    )?;
    let help = "Age in seconds of the oldest record that a consumer group has not consumed yet";
    family(
        encoder,
        "kafka_consumergroup_lag_seconds",
        help,
        each(|lag| lag.lag_seconds),
    )
}

fn sums(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let sum = |value: fn(&GroupLag) -> Option<i64>| {
        let mut sums: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for lag in &report.groups {
            if let Some(value) = value(lag) {
                *sums.entry((&lag.group, &lag.topic)).or_default() += value;
            }
        }
        move |write: &mut dyn FnMut(&Labels<'_>, f64) -> fmt::Result| {
            sums.iter().try_for_each(|((group, topic), value)| {
                write(&[("consumergroup", group), ("topic", topic)], *value as f64)
            })
        }
    };
    let help = "Current offset of a consumer group at a topic for all partitions";
    family(
        encoder,
        "kafka_consumergroup_current_offset_sum",
        help,
        sum(|lag| Some(lag.current_offset)),
    )?;
    let help = "Records that a consumer group has not consumed yet at a topic for all partitions";
    family(encoder, "kafka_consumergroup_lag_sum", help, sum(|lag| lag.lag))
}

fn topics(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    family(
        encoder,
        "kafka_topic_partitions",
        "Number of partitions of a topic",
        |write| {
            report
                .partition_counts
                .iter()
                .try_for_each(|(topic, count)| write(&[("topic", topic)], *count as f64))
        },
    )?;
    let placement: [(&str, &str, Figure); 7] = [
        ("current_offset", "Current offset of a topic and partition", |it| {
            it.current
        }),
        ("oldest_offset", "Oldest offset of a topic and partition", |it| {
            it.oldest
        }),
        (
            "leader",
            "Leader of a topic and partition; -1 while there is none",
            |it| Some(it.placement.leader.map_or(-1, |leader| i64::from(leader.get()))),
        ),
        (
            "leader_is_preferred",
            "1 if the leader of a topic and partition is the preferred one",
            |it| Some(i64::from(it.placement.is_preferred)),
        ),
        ("replicas", "Number of replicas of a topic and partition", |it| {
            Some(it.placement.replicas as i64)
        }),
        (
            "in_sync_replica",
            "Number of in-sync replicas of a topic and partition",
            |it| Some(it.placement.in_sync as i64),
        ),
        (
            "under_replicated_partition",
            "1 if a topic and partition lacks in-sync replicas",
            |it| Some(i64::from(it.placement.in_sync < it.placement.replicas)),
        ),
    ];
    for (name, help, value) in placement {
        family(encoder, &format!("kafka_topic_partition_{name}"), help, |write| {
            report.topics.iter().try_for_each(|ends| {
                let partition = ends.partition.to_string();
                let labels = [("topic", &*ends.topic), ("partition", &*partition)];
                value(ends).map_or(Ok(()), |value| write(&labels, value as f64))
            })
        })?;
    }
    Ok(())
}

/// What the figures above lack: with 0 the sums are those of all partitions. Coordinators share the shards, and the topics
/// among these, so that their numbers add up.
fn unknown(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let name = "highwater_consumer_lag_unknown_partitions";
    let help = "Partitions without a figure at the last look: group, of which the lag is not known; topic, of which the ends are not";
    family(encoder, name, help, |write| {
        write(&[("of", "group")], report.groups_unknown() as f64)?;
        write(&[("of", "topic")], report.topics_unknown() as f64)
    })
}

fn brokers(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let Some(brokers) = &report.brokers else { return Ok(()) };
    family(encoder, "kafka_brokers", "Number of live brokers", |write| {
        write(&[], brokers.len() as f64)
    })?;
    family(
        encoder,
        "kafka_broker_info",
        "Id and address of a live broker",
        |write| {
            brokers.iter().try_for_each(|(id, address)| {
                let id = id.to_string();
                write(&[("id", &id), ("address", address)], 1.0)
            })
        },
    )
}

/// A figure of a partition; none while it is unknown.
type Figure = fn(&TopicEnds) -> Option<i64>;

#[cfg(test)]
mod tests {
    use highwater_node::clock::Clock;
    use highwater_node::telemetry::Metrics;
    use highwater_proto::metadata::{
        Change, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition, ShardAssignment,
    };
    use highwater_proto::types::{
        CONSUMER_OFFSETS_TOPIC, CoordinatorEpoch, PartitionIndex, Revision, ShardId, ShardKind, TimestampMs, TopicId,
    };
    use uuid::Uuid;

    use super::*;
    use crate::lag::report::Placement;

    const ME: NodeId = NodeId(1_000_000);
    const SHARD: ShardId = ShardId {
        kind: ShardKind::Group,
        index: PartitionIndex(0),
    };

    /// One that is another coordinator's by now.
    const OTHER: ShardId = ShardId {
        kind: ShardKind::Group,
        index: PartitionIndex(1),
    };

    fn owned_by(owner: NodeId, epoch: i32) -> Change {
        let assignment = ShardAssignment {
            owner: Some(owner),
            epoch: CoordinatorEpoch(epoch),
        };
        Change::PutShard(SHARD, assignment)
    }

    /// One coordinator with one shard.
    fn image() -> MetadataImage {
        let registration = NodeRegistration {
            role: NodeRole::Coordinator,
            incarnation: Uuid::from_u128(1),
            directory_id: Uuid::nil(),
            endpoints: Vec::new(),
            rack: None,
            api_ranges: Vec::new(),
            pod_uid: None,
        };
        let topic_id = TopicId(Uuid::from_u128(2));
        let changes = vec![
            Change::PutNodeRegistration(ME, registration),
            Change::PutNodeState(ME, NodeState::Active),
            Change::PutPartition(topic_id, PartitionIndex(0), Partition::default()),
            Change::PutTopic {
                name: CONSUMER_OFFSETS_TOPIC.to_owned(),
                topic_id,
                partition_count: 1,
                configs: BTreeMap::new(),
                owner: None,
            },
            owned_by(ME, 1),
        ];
        MetadataImage::default().apply(&MetadataUpdate {
            revision: Revision(1),
            changes,
        })
    }

    #[test]
    fn names_and_labels_are_those_of_kafka_exporter() {
        let lag = |partition, lag| GroupLag {
            shard: SHARD,
            group: "g".into(),
            topic: "t".into(),
            partition,
            current_offset: 10,
            lag,
            lag_seconds: lag.map(|_| 1.5),
        };
        let (images, followed) = watch::channel(Arc::new(image()));
        let published = LagMetrics::new(ME, followed);
        let metrics = Metrics::new(&Clock::manual(TimestampMs(0)).0);
        metrics.register_collector(published.clone());
        published.publish(Report {
            members: vec![(SHARD, "g".into(), 3)],
            groups: vec![lag(0, Some(5)), lag(1, None), lag(2, Some(7))],
            topics: vec![TopicEnds {
                topic: "t".into(),
                partition: 0,
                oldest: Some(2),
                current: Some(15),
                placement: Placement {
                    leader: Some(NodeId(2)),
                    is_preferred: false,
                    replicas: 3,
                    in_sync: 2,
                },
            }],
            partition_counts: [("t".into(), 3)].into(),
            left_out: vec![(SHARD, 40), (OTHER, 500)],
            not_asked: 0,
            brokers: Some(vec![(NodeId(2), "localhost:9092".to_owned())]),
        });
        let text = metrics.encode().unwrap();
        for line in [
            r#"kafka_consumergroup_members{consumergroup="g"} 3"#,
            r#"kafka_consumergroup_current_offset{consumergroup="g",topic="t",partition="1"} 10"#,
            r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="0"} 5"#,
            r#"kafka_consumergroup_lag_seconds{consumergroup="g",topic="t",partition="2"} 1.5"#,
            r#"kafka_consumergroup_lag_sum{consumergroup="g",topic="t"} 12"#,
            r#"kafka_consumergroup_current_offset_sum{consumergroup="g",topic="t"} 30"#,
            r#"kafka_topic_partitions{topic="t"} 3"#,
            r#"highwater_consumer_lag_unknown_partitions{of="group"} 41"#,
            r#"highwater_consumer_lag_unknown_partitions{of="topic"} 0"#,
            "kafka_brokers 1",
            r#"kafka_broker_info{id="2",address="localhost:9092"} 1"#,
            r#"kafka_topic_partition_current_offset{topic="t",partition="0"} 15"#,
            r#"kafka_topic_partition_oldest_offset{topic="t",partition="0"} 2"#,
            r#"kafka_topic_partition_leader{topic="t",partition="0"} 2"#,
            r#"kafka_topic_partition_leader_is_preferred{topic="t",partition="0"} 0"#,
            r#"kafka_topic_partition_replicas{topic="t",partition="0"} 3"#,
            r#"kafka_topic_partition_in_sync_replica{topic="t",partition="0"} 2"#,
            r#"kafka_topic_partition_under_replicated_partition{topic="t",partition="0"} 1"#,
        ] {
            let found = text
                .lines()
                .any(|found| found.strip_suffix(".0").unwrap_or(found) == line);
            assert!(found, "{line} is missing in\n{text}");
        }
        assert!(!text.contains(r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="1"}"#));

        // Its next owner tells of the group and of the topic from now on.
        let moved = images.borrow().apply(&MetadataUpdate {
            revision: Revision(2),
            changes: vec![owned_by(NodeId(1_000_001), 2)],
        });
        images.send_replace(Arc::new(moved));
        let text = metrics.encode().unwrap();
        assert!(!text.contains(r#"consumergroup="g""#), "{text}");
        assert!(!text.contains(r#"topic="t""#), "{text}");
        assert!(text.contains("kafka_brokers 1"), "{text}");
        let none = r#"highwater_consumer_lag_unknown_partitions{of="group"} 0"#;
        assert!(text.contains(none), "counted by its owner only: {text}");
    }
}
