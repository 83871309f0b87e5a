//! DescribeGroups: split by shard, forwarded to the coordinators, put together in the order of the request.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::describe_groups::response::DescribedGroup;
use highwater_proto::kafka::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};

use crate::api::forwarded::{decode_reply, encode_request, gather, send, shard_of_group};
use crate::api::{RawApi, RawRequest, RequestContext, answer};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct DescribeGroups;

impl RawApi for DescribeGroups {
    const KEY: ApiKey = ApiKey::DescribeGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
    const FORWARDED: bool = true;

    fn dispatch(mut request: RawRequest) -> Option<Pending> {
        let version = request.version;
        let decoded = DescribeGroupsRequest::decode(&mut request.body, version).ok()?;
        let authorized = decoded.include_authorized_operations;
        let parts: Vec<_> = decoded
            .groups
            .into_iter()
            .map(|group| (group.clone(), hand_over(&request.context, version, authorized, group)))
            .collect();
        Some(Pending::Later(Box::pin(async move {
            let groups = gather(parts, |group_id, error| DescribedGroup {
                group_id,
                error_code: error.code(),
                ..DescribedGroup::default()
            })
            .await;
            let response = DescribeGroupsResponse {
                groups,
                ..DescribeGroupsResponse::default()
            };
            answer(ApiKey::DescribeGroups, version, request.correlation_id, &response)
        })))
    }
}

type GroupOutcome = Result<DescribedGroup, ErrorCode>;

fn hand_over(
    context: &RequestContext,
    version: i16,
    include_authorized_operations: bool,
    group: ByteStr,
) -> Result<impl Future<Output = GroupOutcome> + Send + use<>, ErrorCode> {
    let shard = shard_of_group(context, &group)?;
    let single = DescribeGroupsRequest {
        groups: vec![group],
        include_authorized_operations,
        ..DescribeGroupsRequest::default()
    };
    let reply = send(
        context,
        shard,
        ApiKey::DescribeGroups,
        version,
        encode_request(&single, version)?,
    );
    Ok(async move {
        let response: DescribeGroupsResponse = decode_reply(reply.await?, version)?;
        response.groups.into_iter().next().ok_or(ErrorCode::UnknownServerError)
    })
}
