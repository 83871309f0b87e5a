//! Asks each broker for the ends of the partitions that it leads.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use highwater_proto::grpc::partition_ends_request::Query as WireQuery;
use highwater_proto::grpc::{PartitionEndsRequest, partition_ends_response};
use highwater_proto::metadata::MetadataImage;
use highwater_proto::metadata::convert::uuid_bytes;
use highwater_proto::types::{NodeId, PartitionIndex, TimestampMs};

use super::ENDS_TIMEOUT;
use super::report::{End, Query};
use crate::runtime::Brokers;

/// Partitions of one call.
const BATCH: usize = 10_000;

/// Where the partitions of the queries end, in their order; `None` for those that nobody answered for, and for all beyond
/// the first `limit`.
pub(super) async fn fetch(
    brokers: &Brokers,
    image: &MetadataImage,
    queries: &[Query],
    limit: usize,
) -> Vec<Option<End>> {
    let mut by_leader: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (at, query) in queries.iter().enumerate().take(limit) {
        let partition = image.partition(query.topic_id, PartitionIndex(query.partition));
        if let Some(leader) = partition.and_then(|partition| partition.leader) {
            by_leader.entry(leader).or_default().push(at);
        }
    }
    // All leaders at once: a slow one costs only its own figures.
    let asked = by_leader
        .into_iter()
        .map(|(leader, wanted)| fetch_of_leader(brokers, image, queries, leader, wanted));
    let mut ends = vec![None; queries.len()];
    for (at, end) in join_all(asked).await.into_iter().flatten() {
        ends[at] = end;
    }
    ends
}

/// Places of queries with their answers. A leader that does not answer is asked no more this time.
async fn fetch_of_leader(
    brokers: &Brokers,
    image: &MetadataImage,
    queries: &[Query],
    leader: NodeId,
    wanted: Vec<usize>,
) -> Vec<(usize, Option<End>)> {
    let mut found = Vec::with_capacity(wanted.len());
    let Some(mut client) = brokers.client(image, leader) else {
        return found;
    };
    for wanted in wanted.chunks(BATCH) {
        let request = PartitionEndsRequest {
            queries: wanted.iter().map(|at| wire(&queries[*at])).collect(),
        };
        match tokio::time::timeout(ENDS_TIMEOUT, client.partition_ends(request)).await {
            Ok(Ok(response)) => {
                let ends = response.into_inner().ends;
                found.extend(wanted.iter().copied().zip(ends.iter().map(end_of)));
            }
            Ok(Err(status)) => {
                tracing::debug!(broker = %leader, %status, "no partition ends for consumer lag");
                break;
            }
            Err(_) => {
                tracing::debug!(broker = %leader, "partition ends for consumer lag take too long");
                break;
            }
        }
    }
    found
}

fn wire(query: &Query) -> WireQuery {
    WireQuery {
        topic_id: uuid_bytes(query.topic_id.0),
        partition: query.partition,
        timestamp_at_offset: query.committed.as_ref().map(|(_, _, offset)| *offset),
    }
}

fn end_of(end: &partition_ends_response::End) -> Option<End> {
    (end.error == 0).then_some(End {
        log_start: end.log_start,
        high_watermark: end.high_watermark,
        timestamp: end.timestamp_ms.map(TimestampMs),
    })
}
