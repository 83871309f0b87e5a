//! SyncGroup.

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{Context, Encoded, detached, name, optional_name, optional_wire, read, write};
use crate::group::{Reply, Request, SyncGroup};

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: SyncGroupRequest = read(body, context.version)?;
    let assignments = request
        .assignments
        .iter()
        .map(|it| (name(&it.member_id), detached(&it.assignment)));
    Ok(Request::SyncGroup(SyncGroup {
        group_id: name(&request.group_id),
        generation: request.generation_id,
        member_id: name(&request.member_id),
        instance_id: optional_name(request.group_instance_id.as_ref()),
        protocol_type: optional_name(request.protocol_type.as_ref()),
        protocol_name: optional_name(request.protocol_name.as_ref()),
        assignments: assignments.collect(),
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::SyncGroup(reply) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let response = SyncGroupResponse {
        error_code: reply.error.code(),
        protocol_type: optional_wire(reply.protocol_type.as_ref()),
        protocol_name: optional_wire(reply.protocol_name.as_ref()),
        assignment: reply.assignment,
        ..Default::default()
    };
    write(&response, version)
}
