//! OffsetFetch (rule 84): one group before version 8, several from then on.

use bytes::Bytes;
use highwater_proto::kafka::messages::offset_fetch::response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use highwater_proto::kafka::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};

use super::{Context, Encoded, name, read, wire, write};
use crate::group::{FetchGroup, FetchTopic, FetchedGroup, OffsetFetch, Reply, Request};

const GROUPS: i16 = 8;

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: OffsetFetchRequest = read(body, context.version)?;
    let topic = |topic: &ByteStr, partitions: &[i32]| FetchTopic {
        name: name(topic),
        partitions: partitions.to_vec(),
    };
    let groups = if context.version < GROUPS {
        let topics = request
            .topics
            .map(|topics| topics.iter().map(|it| topic(&it.name, &it.partition_indexes)).collect());
        vec![FetchGroup {
            group_id: name(&request.group_id),
            topics,
        }]
    } else {
        let groups = request.groups.iter().map(|group| FetchGroup {
            group_id: name(&group.group_id),
            topics: group
                .topics
                .as_ref()
                .map(|topics| topics.iter().map(|it| topic(&it.name, &it.partition_indexes)).collect()),
        });
        groups.collect()
    };
    Ok(Request::OffsetFetch(OffsetFetch {
        groups,
        require_stable: request.require_stable,
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::OffsetFetch(groups) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let response = if version < GROUPS {
        single(groups)?
    } else {
        OffsetFetchResponse {
            groups: groups.into_iter().map(group).collect(),
            ..Default::default()
        }
    };
    write(&response, version)
}

fn single(groups: Vec<FetchedGroup>) -> Result<OffsetFetchResponse, ErrorCode> {
    let group = groups.into_iter().next().ok_or(ErrorCode::UnknownServerError)?;
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: wire(&topic.name),
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition,
                committed_offset: partition.offset,
                committed_leader_epoch: partition.leader_epoch,
                metadata: Some(wire(&partition.metadata)),
                error_code: partition.error.code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    Ok(OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error.code(),
        ..Default::default()
    })
}

fn group(group: FetchedGroup) -> OffsetFetchResponseGroup {
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopics {
        name: wire(&topic.name),
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartitions {
                partition_index: partition.partition,
                committed_offset: partition.offset,
                committed_leader_epoch: partition.leader_epoch,
                metadata: Some(wire(&partition.metadata)),
                error_code: partition.error.code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    OffsetFetchResponseGroup {
        group_id: wire(&group.group_id),
        topics: topics.collect(),
        error_code: group.error.code(),
        ..Default::default()
    }
}
