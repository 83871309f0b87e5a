//! JoinGroup (rules 151, 152).

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::join_group::response::JoinGroupResponseMember;
use highwater_proto::kafka::messages::join_group::{JoinGroupRequest, JoinGroupResponse};

use super::{Context, Encoded, detached, millis, name, optional_name, optional_wire, read, wire, write};
use crate::group::{JoinGroup, MemberProtocol, Reply, Request};

/// From here on a null protocol name is null and not the empty string.
const NULL_PROTOCOL_NAME: i16 = 7;
/// From here on a member must know its id before it is let in.
const MEMBER_ID_REQUIRED: i16 = 4;
/// From here on a leader can be told to skip the assignment.
const SKIP_ASSIGNMENT: i16 = 9;

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: JoinGroupRequest = read(body, context.version)?;
    let session_timeout = millis(request.session_timeout_ms);
    let rebalance_timeout = match request.rebalance_timeout_ms {
        // Version 0 has none.
        negative if negative < 0 => session_timeout,
        given => millis(given),
    };
    let protocols = request.protocols.iter().map(|protocol| MemberProtocol {
        name: name(&protocol.name),
        metadata: detached(&protocol.metadata),
    });
    Ok(Request::JoinGroup(JoinGroup {
        group_id: name(&request.group_id),
        member_id: name(&request.member_id),
        instance_id: optional_name(request.group_instance_id.as_ref()),
        client_id: Arc::from(context.client_id),
        client_host: Arc::from(context.client_host),
        session_timeout,
        rebalance_timeout,
        protocol_type: name(&request.protocol_type),
        protocols: protocols.collect(),
        member_uuid: context.member_uuid,
        requires_known_member_id: context.version >= MEMBER_ID_REQUIRED,
        supports_skip_assignment: context.version >= SKIP_ASSIGNMENT,
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::JoinGroup(reply) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let empty = (version < NULL_PROTOCOL_NAME).then(|| wire(""));
    let members = reply.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: wire(&member.member_id),
        group_instance_id: optional_wire(member.instance_id.as_ref()),
        metadata: member.metadata,
        ..Default::default()
    });
    let response = JoinGroupResponse {
        error_code: reply.error.code(),
        generation_id: reply.generation,
        protocol_type: optional_wire(reply.protocol_type.as_ref()),
        protocol_name: optional_wire(reply.protocol_name.as_ref()).or(empty),
        leader: wire(&reply.leader),
        skip_assignment: reply.skip_assignment,
        member_id: wire(&reply.member_id),
        members: members.collect(),
        ..Default::default()
    };
    write(&response, version)
}
