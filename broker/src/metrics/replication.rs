//! Replication as a scrape sees it: replicas here, ISRs of what is led from here, and what is copied from others.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::collector::{Sample, family, load, sample};
use crate::broker::Broker;

/// Kafka's name for what followers do.
const CLIENT: &str = "Replica";

pub(super) fn encode(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (mut partitions, mut leaders, mut under_replicated, mut under_min_isr, mut offline) = (0, 0, 0, 0, 0);
    let mut by_partition: [(&str, &str, Vec<Sample>); 4] = [
        ("underreplicated", "1 if the ISR lacks replicas", Vec::new()),
        ("underminisr", "1 if the ISR is below min.insync.replicas", Vec::new()),
        (
            "atminisr",
            "1 if the ISR is at min.insync.replicas and lacks replicas",
            Vec::new(),
        ),
        ("replicascount", "Replicas of a partition led from here", Vec::new()),
    ];
    for partition in broker.partitions().all() {
        partitions += 1;
        let states = partition.inspect(|replica| {
            replica.is_leader().then(|| {
                [
                    u32::from(replica.is_under_replicated()),
                    u32::from(replica.is_under_min_isr()),
                    u32::from(replica.is_at_min_isr()),
                    u32::try_from(replica.replica_count()).unwrap_or(u32::MAX),
                ]
            })
        });
        for ((_, _, samples), state) in by_partition.iter_mut().zip(states.into_iter().flatten()) {
            let topic = partition.topic().name().to_string();
            samples.push(sample(
                [("topic", topic), ("partition", partition.index().to_string())],
                f64::from(state),
            ));
        }
        offline += u32::from(partition.log_start().is_none());
        partition.inspect(|replica| {
            leaders += u32::from(replica.is_leader());
            under_replicated += u32::from(replica.is_under_replicated());
            under_min_isr += u32::from(replica.is_under_min_isr());
        });
    }
    // Those without a log are not among the partitions.
    offline += u32::try_from(broker.partitions().unusable()).unwrap_or(u32::MAX);
    for (name, help, value) in [
        ("partitioncount", "Partitions with a replica here", partitions),
        ("leadercount", "Partitions led from here", leaders),
        (
            "underreplicatedpartitions",
            "Partitions led from here whose ISR lacks replicas",
            under_replicated,
        ),
        (
            "underminisrpartitioncount",
            "Partitions led from here whose ISR is below min.insync.replicas",
            under_min_isr,
        ),
        ("offlinereplicacount", "Replicas here whose storage failed", offline),
    ] {
        let name = format!("kafka_server_replicamanager_{name}");
        family(encoder, &name, help, MetricType::Gauge, &[sample([], f64::from(value))])?;
    }
    for (name, help, samples) in by_partition {
        family(
            encoder,
            &format!("kafka_cluster_partition_{name}"),
            help,
            MetricType::Gauge,
            &samples,
        )?;
    }
    encode_isr_changes(broker, encoder)?;
    encode_fetchers(broker, encoder)
}

fn encode_isr_changes(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (shrinks, expands) = broker.partitions().reports().isr_changes();
    let counters = [
        (
            "replicamanager_isrshrinks",
            "ISRs of partitions led from here that lost members",
            shrinks,
        ),
        (
            "replicamanager_isrexpands",
            "ISRs of partitions led from here that gained members",
            expands,
        ),
        (
            "brokertopicmetrics_replicationbytesout",
            "Bytes of batches that followers fetched",
            load(&broker.metrics().replication_bytes_out),
        ),
    ];
    for (name, help, counter) in counters {
        let samples = [sample([], counter as f64)];
        family(
            encoder,
            &format!("kafka_server_{name}"),
            help,
            MetricType::Counter,
            &samples,
        )?;
    }
    Ok(())
}

fn encode_fetchers(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let figures = broker.fetchers().figures();
    let bytes: u64 = figures.iter().map(|it| it.bytes).sum();
    family(
        encoder,
        "kafka_server_brokertopicmetrics_replicationbytesin",
        "Bytes of batches copied from leaders",
        MetricType::Counter,
        &[sample([], bytes as f64)],
    )?;
    let max_lag = figures.iter().map(|it| it.max_lag).max().unwrap_or(0);
    let resting: u64 = figures.iter().map(|it| it.resting).sum();
    for (name, help, value) in [
        (
            "maxlag",
            "Records that the replica here that is farthest behind lacks",
            max_lag as f64,
        ),
        (
            "failedpartitionscount",
            "Replicas here that rest after failed fetches",
            resting as f64,
        ),
    ] {
        let name = format!("kafka_server_replicafetchermanager_{name}");
        let samples = [sample([("clientId", CLIENT.to_owned())], value)];
        family(encoder, &name, help, MetricType::Gauge, &samples)?;
    }
    let lags: Vec<Sample> = figures
        .iter()
        .map(|it| sample([("leader", it.leader.to_string())], it.max_lag as f64))
        .collect();
    let help = "Records that the replica here that is farthest behind this leader lacks";
    family(encoder, "highwater_fetcher_max_lag", help, MetricType::Gauge, &lags)?;
    let answers: Vec<Sample> = figures
        .iter()
        .map(|it| sample([("leader", it.leader.to_string())], it.answers as f64))
        .collect();
    family(
        encoder,
        "highwater_fetcher_answers",
        "Answers of leaders to fetches of this broker",
        MetricType::Counter,
        &answers,
    )
}
