//! JoinGroup (Kafka API): forwarded to the coordinator of the group.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode};

use crate::api::forwarded::{GroupRequest, dispatch_by_group};
use crate::api::{RawApi, RawRequest};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct JoinGroup;

impl RawApi for JoinGroup {
    const KEY: ApiKey = ApiKey::JoinGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=9;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        dispatch_by_group::<Self>(request)
    }
}

impl GroupRequest for JoinGroup {
    type Request = JoinGroupRequest;

    fn failed(version: i16, request: JoinGroupRequest, error: ErrorCode) -> JoinGroupResponse {
        JoinGroupResponse {
            error_code: error.code(),
            // Null from version 7 on, "" before, where null was not allowed (rule 152).
            protocol_name: (version < 7).then(ByteStr::default),
            member_id: request.member_id,
            ..JoinGroupResponse::default()
        }
    }
}
