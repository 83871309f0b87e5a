//! DeleteGroups: split by shard, forwarded to the coordinators, put together in the order of the request.

use std::collections::HashSet;
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
        let mut decoded = DeleteGroupsRequest::decode(&mut request.body, version).ok()?;
        // Unlike in other requests, a group that is named again is not answered again.
        let mut seen = HashSet::new();
        decoded.groups_names.retain(|group| seen.insert(group.clone()));
        let context = &request.context;
        let parts = split(context, decoded.groups_names, |shard, groups| {
            hand_over(context, shard, version, groups)
        });
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
