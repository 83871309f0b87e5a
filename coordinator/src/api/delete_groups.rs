//! DeleteGroups.

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::delete_groups::response::DeletableGroupResult;
use highwater_proto::kafka::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Context, Encoded, name, read, wire, write};
use crate::group::{Reply, Request};

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: DeleteGroupsRequest = read(body, context.version)?;
    Ok(Request::DeleteGroups(request.groups_names.iter().map(name).collect()))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::DeleteGroups(groups) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let results = groups.into_iter().map(|(group_id, error)| DeletableGroupResult {
        group_id: wire(&group_id),
        error_code: error.code(),
        ..Default::default()
    });
    let response = DeleteGroupsResponse {
        results: results.collect(),
        ..Default::default()
    };
    write(&response, version)
}
