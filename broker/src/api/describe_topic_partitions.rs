//! DescribeTopicPartitions (75): partitions of topics, in pages, with eligible leader replicas.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::describe_topic_partitions::response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use highwater_proto::kafka::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::{MetadataImage, Topic};
use highwater_proto::types::{is_internal_topic, is_legal_topic_name};

use super::cluster_view::{ClusterView, TOPIC_OPERATIONS, ids};
use super::{Api, RequestContext};

/// Handler of DescribeTopicPartitions.
pub(super) struct DescribeTopicPartitions;

impl Api for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=0;

    async fn handle(
        context: &RequestContext,
        _: i16,
        request: DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let limit = context.broker.config().network.max_request_partitions;
        describe(&context.broker.image(), &context.client.listener, limit, &request)
    }
}

/// Topics in the order of their names, from the cursor on, until the page is full; the next cursor then names where to
/// go on.
fn describe(
    image: &MetadataImage,
    listener: &str,
    limit: usize,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let (first, start) = match &request.cursor {
        Some(cursor) => (&*cursor.topic_name, usize::try_from(cursor.partition_index).ok()),
        None => ("", Some(0)),
    };
    let all = request.topics.is_empty();
    let names: BTreeSet<&str> = if all {
        image
            .topics()
            .map(|topic| &*topic.name)
            .filter(|name| *name >= first)
            .collect()
    } else {
        request
            .topics
            .iter()
            .map(|topic| &*topic.name)
            .filter(|name| *name >= first)
            .collect()
    };
    let cursor_is_listed = all || request.cursor.is_none() || names.contains(first);
    let (Some(start), true) = (start, cursor_is_listed) else {
        return refuse(request);
    };

    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut left = limit.min(asked).max(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if left == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = image.topic(name) else {
            if !all {
                response.topics.push(unknown(name));
            }
            continue;
        };
        let start = if name == first { start } else { 0 };
        let row = describe_topic(image, listener, topic, start, left);
        let end = start + row.partitions.len();
        left -= row.partitions.len();
        response.topics.push(row);
        if end < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, end));
            break;
        }
    }
    response
}

fn describe_topic(
    image: &MetadataImage,
    listener: &str,
    topic: &Topic,
    start: usize,
    limit: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let view = ClusterView::new(image, listener);
    let partitions = topic
        .indexed_partitions()
        .skip(start)
        .take(limit)
        .map(|(index, partition)| {
            let seen = view.partition(partition);
            DescribeTopicPartitionsResponsePartition {
                error_code: seen.error.code(),
                partition_index: index.get(),
                leader_id: seen.leader,
                leader_epoch: partition.leader_epoch.get(),
                replica_nodes: ids(&partition.replicas),
                isr_nodes: ids(&partition.isr),
                eligible_leader_replicas: Some(ids(&partition.elr)),
                last_known_elr: Some(partition.last_known_leader.iter().map(|id| id.get()).collect()),
                offline_replicas: seen.offline,
                ..Default::default()
            }
        });
    DescribeTopicPartitionsResponseTopic {
        name: Some(ByteStr::from(&*topic.name)),
        topic_id: topic.id.0,
        is_internal: is_internal_topic(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = if is_legal_topic_name(name) {
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(ByteStr::from(name)),
        is_internal: is_internal_topic(name),
        ..Default::default()
    }
}

/// A cursor that names no partition of the topics asked for. Every topic of the request is answered with the error.
fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let row = |name: &ByteStr| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(name.clone()),
        ..Default::default()
    };
    DescribeTopicPartitionsResponse {
        topics: request.topics.iter().map(|topic| row(&topic.name)).collect(),
        ..Default::default()
    }
}

fn cursor(topic: &str, partition: usize) -> Cursor {
    Cursor {
        topic_name: ByteStr::from(topic),
        partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
