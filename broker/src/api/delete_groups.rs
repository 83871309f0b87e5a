//! DeleteGroups: split by shard, forwarded to the coordinators, put together in the order of the request.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::delete_groups::response::DeletableGroupResult;
use highwater_proto::kafka::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};

use crate::api::forwarded::{decode_reply, encode_request, gather, send, shard_of_group};
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
        let parts: Vec<_> = decoded
            .groups_names
            .into_iter()
            .map(|group| (group.clone(), hand_over(&request.context, version, group)))
            .collect();
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
            answer(ApiKey::DeleteGroups, version, request.correlation_id, &response)
        })))
    }
}

type GroupOutcome = Result<DeletableGroupResult, ErrorCode>;

fn hand_over(
    context: &RequestContext,
    version: i16,
    group: ByteStr,
) -> Result<impl Future<Output = GroupOutcome> + Send + use<>, ErrorCode> {
    let shard = shard_of_group(context, &group)?;
    let single = DeleteGroupsRequest {
        groups_names: vec![group],
        ..DeleteGroupsRequest::default()
    };
    let reply = send(
        context,
        shard,
        ApiKey::DeleteGroups,
        version,
        encode_request(&single, version)?,
    );
    Ok(async move {
        let response: DeleteGroupsResponse = decode_reply(reply.await?, version)?;
        response.results.into_iter().next().ok_or(ErrorCode::UnknownServerError)
    })
}
