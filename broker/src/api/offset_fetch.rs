//! OffsetFetch: forwarded to the coordinators of its groups. Up to version 7 a request names one group; from 8 on it
//! may name many, and is split by shard and put together again.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::offset_fetch::request::OffsetFetchRequestGroup;
use highwater_proto::kafka::messages::offset_fetch::response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use highwater_proto::kafka::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode, Message};

use crate::api::forwarded::{
    GroupRequest, decode_reply, dispatch_by_group, encode_request, gather, send, shard_of_group,
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

    fn dispatch(mut request: RawRequest) -> Option<Pending> {
        if request.version < MANY_GROUPS {
            return dispatch_by_group::<Self>(request);
        }
        let version = request.version;
        let decoded = OffsetFetchRequest::decode(&mut request.body, version).ok()?;
        // One request a group: groups of one request rarely share a shard, and each keeps its own outcome. All are
        // handed over here, in the order of arrival.
        let parts: Vec<_> = decoded
            .groups
            .into_iter()
            .map(|group| {
                (
                    group.group_id.clone(),
                    hand_over(&request.context, version, decoded.require_stable, group),
                )
            })
            .collect();
        Some(Pending::Later(Box::pin(async move {
            let groups = gather(parts, |group_id, error| OffsetFetchResponseGroup {
                group_id,
                error_code: error.code(),
                ..OffsetFetchResponseGroup::default()
            })
            .await;
            let response = OffsetFetchResponse {
                groups,
                ..OffsetFetchResponse::default()
            };
            answer(ApiKey::OffsetFetch, version, request.correlation_id, &response)
        })))
    }
}

type GroupOutcome = Result<OffsetFetchResponseGroup, ErrorCode>;

fn hand_over(
    context: &RequestContext,
    version: i16,
    require_stable: bool,
    group: OffsetFetchRequestGroup,
) -> Result<impl Future<Output = GroupOutcome> + Send + use<>, ErrorCode> {
    let shard = shard_of_group(context, &group.group_id)?;
    let single = OffsetFetchRequest {
        groups: vec![group],
        require_stable,
        ..OffsetFetchRequest::default()
    };
    let reply = send(
        context,
        shard,
        ApiKey::OffsetFetch,
        version,
        encode_request(&single, version)?,
    );
    Ok(async move {
        let response: OffsetFetchResponse = decode_reply(reply.await?, version)?;
        response.groups.into_iter().next().ok_or(ErrorCode::UnknownServerError)
    })
}

impl GroupRequest for OffsetFetch {
    type Request = OffsetFetchRequest;

    fn failed(version: i16, request: OffsetFetchRequest, error: ErrorCode) -> OffsetFetchResponse {
        let mut response = OffsetFetchResponse::default();
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
