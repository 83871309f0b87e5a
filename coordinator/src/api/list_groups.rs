//! ListGroups, of one shard; the broker puts the shards together.

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::list_groups::response::ListedGroup;
use highwater_proto::kafka::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use super::{Context, Encoded, read, wire, write};
use crate::group::{ListGroups, Reply, Request};

pub(super) fn decode(body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let request: ListGroupsRequest = read(body, context.version)?;
    Ok(Request::ListGroups(ListGroups {
        states: request.states_filter.iter().map(String::from).collect(),
        types: request.types_filter.iter().map(String::from).collect(),
    }))
}

pub(super) fn encode(reply: Reply, version: i16) -> Result<Encoded, ErrorCode> {
    let Reply::ListGroups(groups) = reply else {
        return Err(ErrorCode::UnknownServerError);
    };
    let groups = groups.into_iter().map(|group| ListedGroup {
        group_id: wire(&group.group_id),
        protocol_type: wire(&group.protocol_type),
        group_state: wire(group.state),
        group_type: wire(group.group_type),
        ..Default::default()
    });
    let response = ListGroupsResponse {
        groups: groups.collect(),
        ..Default::default()
    };
    write(&response, version)
}
