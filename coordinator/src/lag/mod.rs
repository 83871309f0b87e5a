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

/// Looks at lag again and again until `stop`, and soon after shards have come.
pub(crate) async fn watch(runtime: Arc<Runtime>, metrics: Metrics, stop: CancellationToken) {
    let published = LagMetrics::new(runtime.config.node_id, runtime.images.clone());
    metrics.register_collector(published.clone());
    let interval = runtime.config.lag_interval;
    let mut left_out = 0;
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
        let report = round(&runtime).await;
        let before = std::mem::replace(&mut left_out, report.not_asked);
        say_left_out(before, left_out, runtime.config.lag_partitions);
        published.publish(report);
    }
}

/// Says once that there are more partitions than one look takes, not at each look.
fn say_left_out(before: usize, now: usize, limit: usize) {
    if before == 0 && now > 0 {
        tracing::warn!(
            left_out = now,
            limit,
            "there are too many partitions for one coordinator to look at the lag of all: highwater_consumer_lag_unknown_partitions counts those without (run more coordinators)"
        );
    } else if before > 0 && now == 0 {
        tracing::info!("consumer lag is looked at for all partitions again");
    }
}

/// One look at all shards of this coordinator, and at where partitions end: those of groups first, as many as it may ask
/// for.
async fn round(runtime: &Runtime) -> report::Report {
    let limit = runtime.config.lag_partitions;
    let shards = runtime.offsets().await;
    let image = runtime.image();
    let share = Share {
        image: &image,
        coordinator: runtime.config.node_id,
    };
    let mut queries = report::group_queries(&shards, &image);
    queries.extend(topic_queries(&share));
    let ends = ends::fetch(&runtime.brokers, &image, &queries, limit).await;
    let mut report = report::compute(&shards, &image, &queries, &ends, runtime.clock.now_ms());
    let reported: usize = report.left_out.iter().map(|(_, count)| count).sum();
    report.not_asked = reported + queries.len().saturating_sub(limit);
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
    partitions.collect()
}

/// How soon after a shard has come its figures are looked at.
const SOON: Duration = Duration::from_secs(1);
/// How long a broker may take to answer for its partitions.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);
