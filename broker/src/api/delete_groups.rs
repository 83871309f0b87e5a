//! DeleteGroups: split by shard, forwarded to the coordinators, put together in the order of the request.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::delete_groups::response::DeletableGroupResult;
use highwater_proto::kafka::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};
use highwater_proto::types::ShardId;

use crate::api::forwarded::{decode_reply, encode_request, gather, send, split};
use crate::api::{RawApi, RawRequest, RequestContext, answer};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct DeleteGroups;

impl RawApi for DeleteGroups {
    const KEY: ApiKey = ApiKey::DeleteGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const FORWARDED: bool = true;

    fn dispatch(mut request: RawRequest) -> Option<Pending> {
        let version = request.version;
        let decoded = DeleteGroupsRequest::decode(&mut request.body, version).ok()?;
        let context = &request.context;
        let hand_over = |shard, groups| hand_over(context, shard, version, groups);
        let parts = split(context, decoded.groups_names, |group| group, hand_over);
        Some(Pending::Later(Box::pin(async move {
            let results = gather(parts, |group_id, error| DeletableGroupResult {
                group_id,
                error_code: error.code(),
                ..DeletableGroupResult::default()
            })
            .await;
            let response = DeleteGroupsResponse {
                results,
                ..DeleteGroupsResponse::default()
            };
            answer(
                &request.context,
                ApiKey::DeleteGroups,
                version,
                request.correlation_id,
                &response,
            )
        })))
    }
}

type PartOutcome = Result<Vec<DeletableGroupResult>, ErrorCode>;

fn hand_over(
    context: &RequestContext,
    shard: ShardId,
    version: i16,
    groups_names: Vec<ByteStr>,
) -> Result<impl Future<Output = PartOutcome> + Send + use<>, ErrorCode> {
    let part = DeleteGroupsRequest {
        groups_names,
        ..DeleteGroupsRequest::default()
    };
    let body = encode_request(&part, version)?;
    let reply = send(context, shard, ApiKey::DeleteGroups, version, body);
    Ok(async move { Ok(decode_reply::<DeleteGroupsResponse>(reply.await?, version)?.results) })
}
