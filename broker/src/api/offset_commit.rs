//! OffsetCommit (Kafka API): forwarded to the coordinator of the group.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::offset_commit::request::OffsetCommitRequestPartition;
use highwater_proto::kafka::messages::offset_commit::response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use highwater_proto::kafka::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode};

use crate::api::forwarded::{GroupRequest, dispatch_by_group};
use crate::api::{RawApi, RawRequest};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct OffsetCommit;

impl RawApi for OffsetCommit {
    const KEY: ApiKey = ApiKey::OffsetCommit;
    const VERSIONS: RangeInclusive<i16> = 2..=9;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        dispatch_by_group::<Self>(request)
    }
}

impl GroupRequest for OffsetCommit {
    type Request = OffsetCommitRequest;

    fn failed(_version: i16, request: OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
        // There is no code for the whole request: it is repeated on every partition (rule 142).
        let partition = |partition: OffsetCommitRequestPartition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: error.code(),
            ..OffsetCommitResponsePartition::default()
        };
        let topics = request.topics.into_iter().map(|topic| OffsetCommitResponseTopic {
            name: topic.name,
            partitions: topic.partitions.into_iter().map(partition).collect(),
            ..OffsetCommitResponseTopic::default()
        });
        OffsetCommitResponse {
            topics: topics.collect(),
            ..OffsetCommitResponse::default()
        }
    }
}
