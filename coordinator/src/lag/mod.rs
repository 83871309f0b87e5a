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
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

use self::metrics::LagMetrics;
use self::report::{Query, Share};

/// Partitions that one round asks for.
const MAX_QUERIES: usize = 100_000;

/// Looks at lag again and again until `stop`, and soon after shards have come.
pub(crate) async fn watch(runtime: Arc<Runtime>, metrics: Metrics, stop: CancellationToken) {
    let published = LagMetrics::new(runtime.config.node_id, runtime.images.clone());
    metrics.register_collector(published.clone());
    let interval = runtime.config.lag_interval;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
            // Usually more of them come.
            () = async {
                runtime.loaded.notified().await;
                tokio::time::sleep(interval.min(SOON)).await;
            } => {}
        }
        published.publish(round(&runtime).await);
    }
}

/// One look at all shards of this coordinator.
pub(crate) async fn round(runtime: &Runtime) -> report::Report {
    let shards = runtime.offsets().await;
    let image = runtime.image();
    let share = Share {
        image: &image,
        coordinator: runtime.config.node_id,
    };
    let mut queries = report::group_queries(&shards, &image);
    queries.extend(topic_queries(&share));
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
    report.brokers = share.is_first().then(|| report::brokers(&image));
    report
}

/// The partitions of the topics that this coordinator reports on.
fn topic_queries(share: &Share<'_>) -> Vec<Query> {
    let topics = share.image.topics().filter(|topic| share.has_topic(&topic.name));
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

/// How soon after a shard has come its figures are looked at.
const SOON: Duration = Duration::from_secs(1);
/// How long a broker may take to answer for its partitions.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);
