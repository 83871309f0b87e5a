//! DescribeGroups (rule 86).

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::describe_groups::response::{DescribedGroup, DescribedGroupMember};
use highwater_proto::kafka::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::{Context, Encoded, name, optional_wire, read, wire, write};
use crate::group::{self, Reply, Request};

/// From here on a group that does not exist is an error, with a text.
const GROUP_ID_NOT_FOUND: i16 = 6;

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: DescribeGroupsRequest = read(body, context.version)?;
    Ok(Request::DescribeGroups(request.groups.iter().map(name).collect()))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::DescribeGroups(groups) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let response = DescribeGroupsResponse {
        groups: groups.into_iter().map(|group| described(group, version)).collect(),
        ..Default::default()
    };
    write(&response, version)
}

fn described(group: group::DescribedGroup, version: i16) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| DescribedGroupMember {
        member_id: wire(&member.member_id),
        group_instance_id: optional_wire(member.instance_id.as_ref()),
        client_id: wire(&member.client_id),
        client_host: wire(&member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
        ..Default::default()
    });
    let mut described = DescribedGroup {
        group_id: wire(&group.group_id),
        group_state: wire(group.state),
        protocol_type: wire(&group.protocol_type),
        protocol_data: wire(&group.protocol),
        members: members.collect(),
        ..Default::default()
    };
    if !group.exists && version >= GROUP_ID_NOT_FOUND {
        described.error_code = ErrorCode::GroupIdNotFound.code();
        described.error_message = Some(format!("Group {} not found.", group.group_id).into());
    }
    described
}
