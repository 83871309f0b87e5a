//! DescribeGroups: split by shard, forwarded to the coordinators, put together in the order of the request.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::describe_groups::response::DescribedGroup;
use highwater_proto::kafka::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};
use highwater_proto::types::ShardId;

use super::cluster_view::GROUP_OPERATIONS;
use crate::api::forwarded::{decode_reply, encode_request, gather, send, split};
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
        let with_operations = decoded.include_authorized_operations;
        let context = &request.context;
        let parts = split(context, decoded.groups, |shard, groups| {
            hand_over(context, shard, version, groups)
        });
        Some(Pending::Later(Box::pin(async move {
            let mut groups = gather(parts, |group_id, error| DescribedGroup {
                group_id,
                error_code: error.code(),
                ..DescribedGroup::default()
            })
            .await;
            // What a client may do is for its broker to say, not for the coordinator.
            for group in groups
                .iter_mut()
                .filter(|group| with_operations && group.error_code == 0)
            {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            let response = DescribeGroupsResponse {
                groups,
                ..DescribeGroupsResponse::default()
            };
            answer(
                &request.context,
                ApiKey::DescribeGroups,
                version,
                request.correlation_id,
                &response,
            )
        })))
    }
}

type PartOutcome = Result<Vec<DescribedGroup>, ErrorCode>;

fn hand_over(
    context: &RequestContext,
    shard: ShardId,
    version: i16,
    groups: Vec<ByteStr>,
) -> Result<impl Future<Output = PartOutcome> + Send + use<>, ErrorCode> {
    let part = DescribeGroupsRequest {
        groups,
        ..DescribeGroupsRequest::default()
    };
    let body = encode_request(&part, version)?;
    let reply = send(context, shard, ApiKey::DescribeGroups, version, body);
    Ok(async move { Ok(decode_reply::<DescribeGroupsResponse>(reply.await?, version)?.groups) })
}
