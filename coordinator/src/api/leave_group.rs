//! LeaveGroup (rule 82): one member before version 3, a batch from then on.

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::leave_group::response::MemberResponse;
use highwater_proto::kafka::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};

use super::{Context, Encoded, name, optional_name, optional_wire, read, wire, write};
use crate::group::{LeaveGroup, LeavingMember, Reply, Request};

const BATCH: i16 = 3;

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: LeaveGroupRequest = read(body, context.version)?;
    let members = if context.version < BATCH {
        vec![LeavingMember {
            member_id: name(&request.member_id),
            instance_id: None,
        }]
    } else {
        let members = request.members.iter().map(|member| LeavingMember {
            member_id: name(&member.member_id),
            instance_id: optional_name(member.group_instance_id.as_ref()),
        });
        members.collect()
    };
    Ok(Request::LeaveGroup(LeaveGroup {
        group_id: name(&request.group_id),
        members,
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::LeaveGroup(reply) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let mut response = LeaveGroupResponse {
        error_code: reply.error.code(),
        ..Default::default()
    };
    if version >= BATCH {
        let members = reply.members.into_iter().map(|member| MemberResponse {
            member_id: wire(&member.member_id),
            group_instance_id: optional_wire(member.instance_id.as_ref()),
            error_code: member.error.code(),
            ..Default::default()
        });
        response.members = members.collect();
    } else if reply.error == ErrorCode::None {
        response.error_code = reply.members.first().map_or(0, |member| member.error.code());
    }
    write(&response, version)
}
