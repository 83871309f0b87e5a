//! Consumer lag as a first-class figure (design section 6): every few seconds the offsets that groups have committed are
//! held against the ends of the partitions, in records and in seconds. Names and labels are kafka_exporter's.
//!
//! Shards are disjoint, so the figures of a group come from one coordinator. Those of topics come from the coordinator
//! that owns the shard which the topic's name hashes to, so that nothing is counted twice.

mod ends;
mod metrics;
mod report;

use std::sync::Arc;
use std::time::Duration;

use highwater_node::telemetry::Metrics;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{PartitionIndex, ShardId, ShardKind};
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

use self::metrics::LagMetrics;
use self::report::Query;

/// Partitions that one round asks for.
const MAX_QUERIES: usize = 100_000;

/// Looks at lag again and again until `stop`.
pub(crate) async fn watch(runtime: Arc<Runtime>, metrics: Metrics, stop: CancellationToken) {
    let published = LagMetrics::default();
    metrics.register_collector(published.clone());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(runtime.config.lag_interval) => {}
        }
        published.publish(round(&runtime).await);
    }
}

/// One look at all shards of this coordinator.
pub(crate) async fn round(runtime: &Runtime) -> report::Report {
    let shards = runtime.offsets().await;
    let image = runtime.image();
    let mut queries = report::group_queries(&shards, &image);
    queries.extend(topic_queries(runtime, &image));
    if queries.len() > MAX_QUERIES {
        tracing::warn!(
            partitions = queries.len(),
            limit = MAX_QUERIES,
            "consumer lag is shown for some partitions only"
        );
        queries.truncate(MAX_QUERIES);
    }
    let ends = ends::fetch(&runtime.brokers, &image, &queries).await;
    let mut report = report::compute(&shards, &image, &queries, &ends, runtime.clock.now_ms());
    let first = image.live_coordinators().next().map(|node| node.id);
    if first == Some(runtime.config.node_id) {
        report.brokers = Some(report::brokers(&image));
    }
    report
}

/// The partitions of the topics that this coordinator reports on.
fn topic_queries(runtime: &Runtime, image: &MetadataImage) -> Vec<Query> {
    let shard_count = image
        .topic(ShardKind::Group.topic())
        .map_or(0, |topic| topic.partitions.len());
    // Before anybody has used a group there are no shards: then one coordinator reports on everything.
    let first = image.live_coordinators().next().map(|node| node.id);
    let owner = |name: &str| match report::home_shard(name, shard_count) {
        Some(index) => {
            let kind = ShardKind::Group;
            let index = PartitionIndex(index);
            image
                .shards
                .get(&ShardId { kind, index })
                .and_then(|assignment| assignment.owner)
        }
        None => first,
    };
    let topics = image
        .topics()
        .filter(|topic| owner(&topic.name) == Some(runtime.config.node_id));
    let partitions = topics.flat_map(|topic| {
        (0..topic.partitions.len()).map(|index| Query {
            topic: Arc::clone(&topic.name),
            topic_id: topic.id,
            partition: index as i32,
            committed: None,
        })
    });
    partitions.take(MAX_QUERIES).collect()
}

/// How long a broker may take to answer for its partitions.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);
