//! Asks each broker for the ends of the partitions that it leads.

use std::collections::BTreeMap;

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

/// Where the partitions of the queries end, in their order; `None` for those that nobody answered for.
pub(super) async fn fetch(brokers: &Brokers, image: &MetadataImage, queries: &[Query]) -> Vec<Option<End>> {
    let mut by_leader: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (at, query) in queries.iter().enumerate() {
        let partition = image.partition(query.topic_id, PartitionIndex(query.partition));
        if let Some(leader) = partition.and_then(|partition| partition.leader) {
            by_leader.entry(leader).or_default().push(at);
        }
    }
    let mut ends = vec![None; queries.len()];
    let mut calls: Vec<(NodeId, Vec<usize>)> = Vec::new();
    for (leader, wanted) in by_leader {
        for chunk in wanted.chunks(BATCH) {
            calls.push((leader, chunk.to_vec()));
        }
    }
    for (leader, wanted) in calls {
        let Some(mut client) = brokers.client(image, leader) else {
            continue;
        };
        let request = PartitionEndsRequest {
            queries: wanted.iter().map(|at| wire(&queries[*at])).collect(),
        };
        match tokio::time::timeout(ENDS_TIMEOUT, client.partition_ends(request)).await {
            Ok(Ok(response)) => {
                for (at, end) in wanted.iter().zip(response.into_inner().ends) {
                    ends[*at] = end_of(&end);
                }
            }
            Ok(Err(status)) => tracing::debug!(broker = %leader, %status, "no partition ends for consumer lag"),
            Err(_) => tracing::debug!(broker = %leader, "partition ends for consumer lag take too long"),
        }
    }
    ends
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
