//! Heartbeat.

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Context, Encoded, name, optional_name, read, write};
use crate::group::{Heartbeat, Reply, Request};

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: HeartbeatRequest = read(body, context.version)?;
    Ok(Request::Heartbeat(Heartbeat {
        group_id: name(&request.group_id),
        generation: request.generation_id,
        member_id: name(&request.member_id),
        instance_id: optional_name(request.group_instance_id.as_ref()),
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::Heartbeat(error) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let response = HeartbeatResponse {
        error_code: error.code(),
        ..Default::default()
    };
    write(&response, version)
}
