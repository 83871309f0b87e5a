//! OffsetFetch: forwarded to the coordinators of its groups. Up to version 7 a request names one group; from 8 on it
//! may name many, and is split by shard and put together again.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::offset_fetch::request::OffsetFetchRequestGroup;
use highwater_proto::kafka::messages::offset_fetch::response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use highwater_proto::kafka::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};
use highwater_proto::types::ShardId;

use crate::api::forwarded::{
    GroupRequest, Item, decode_reply, dispatch_by_group, dispatch_to, encode_request, gather, send, shard_of_group,
    split,
};
use crate::api::{RawApi, RawRequest, RequestContext, answer};
use crate::reply::Pending;

/// First version that names many groups.
const MANY_GROUPS: i16 = 8;
/// First version with an error code for the whole group.
const GROUP_ERROR: i16 = 2;

/// See the module.
#[derive(Debug)]
pub struct OffsetFetch;

impl RawApi for OffsetFetch {
    const KEY: ApiKey = ApiKey::OffsetFetch;
    const VERSIONS: RangeInclusive<i16> = 1..=9;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        if request.version < MANY_GROUPS {
            return dispatch_by_group::<Self>(request);
        }
        let version = request.version;
        let decoded = OffsetFetchRequest::decode(&mut request.body.clone(), version).ok()?;
        if let Some(shard) = only_shard(&request.context, &decoded.groups) {
            return Some(dispatch_to::<Self>(request, Ok(shard)));
        }
        let (context, require_stable) = (&request.context, decoded.require_stable);
        let hand_over = |shard, groups| hand_over(context, shard, version, require_stable, groups);
        let parts = split(context, decoded.groups, hand_over);
        Some(Pending::Later(Box::pin(async move {
            let groups = gather(parts, failed_group).await;
            let response = OffsetFetchResponse {
                groups,
                ..OffsetFetchResponse::default()
            };
            answer(
                &request.context,
                ApiKey::OffsetFetch,
                version,
                request.correlation_id,
                &response,
            )
        })))
    }
}

/// The shard of a request for one group: that of a consumer, which names its own. Such a request and its reply travel as
/// they are.
fn only_shard(context: &RequestContext, groups: &[OffsetFetchRequestGroup]) -> Option<ShardId> {
    let [group] = groups else { return None };
    shard_of_group(context, &group.group_id).ok()
}

impl Item for OffsetFetchRequestGroup {
    fn group(&self) -> &ByteStr {
        &self.group_id
    }

    /// Named topics are answered once each, however often the group is named.
    fn says_group_only(&self) -> bool {
        self.topics.is_none()
    }
}

fn failed_group(group_id: ByteStr, error: ErrorCode) -> OffsetFetchResponseGroup {
    OffsetFetchResponseGroup {
        group_id,
        error_code: error.code(),
        ..OffsetFetchResponseGroup::default()
    }
}

type PartOutcome = Result<Vec<OffsetFetchResponseGroup>, ErrorCode>;

fn hand_over(
    context: &RequestContext,
    shard: ShardId,
    version: i16,
    require_stable: bool,
    groups: Vec<OffsetFetchRequestGroup>,
) -> Result<impl Future<Output = PartOutcome> + Send + use<>, ErrorCode> {
    let part = OffsetFetchRequest {
        groups,
        require_stable,
        ..OffsetFetchRequest::default()
    };
    let body = encode_request(&part, version)?;
    let reply = send(context, shard, ApiKey::OffsetFetch, version, body);
    Ok(async move { Ok(decode_reply::<OffsetFetchResponse>(reply.await?, version)?.groups) })
}

impl GroupRequest for OffsetFetch {
    type Request = OffsetFetchRequest;

    fn failed(version: i16, request: OffsetFetchRequest, error: ErrorCode) -> OffsetFetchResponse {
        let mut response = OffsetFetchResponse::default();
        if version >= MANY_GROUPS {
            let groups = request.groups.into_iter();
            response.groups = groups.map(|group| failed_group(group.group_id, error)).collect();
            return response;
        }
        if version >= GROUP_ERROR {
            response.error_code = error.code();
            return response;
        }
        let topics = request
            .topics
            .unwrap_or_default()
            .into_iter()
            .map(|topic| OffsetFetchResponseTopic {
                name: topic.name,
                partitions: topic
                    .partition_indexes
                    .into_iter()
                    .map(|partition_index| OffsetFetchResponsePartition {
                        partition_index,
                        committed_offset: -1,
                        // Kafka's NO_METADATA.
                        metadata: Some(ByteStr::default()),
                        error_code: error.code(),
                        ..OffsetFetchResponsePartition::default()
                    })
                    .collect(),
                ..OffsetFetchResponseTopic::default()
            });
        response.topics = topics.collect();
        response
    }
}
