//! LeaveGroup (Kafka API): forwarded to the coordinator of the group.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode};

use crate::api::forwarded::{GroupRequest, dispatch_by_group};
use crate::api::{RawApi, RawRequest};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct LeaveGroup;

impl RawApi for LeaveGroup {
    const KEY: ApiKey = ApiKey::LeaveGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        dispatch_by_group::<Self>(request)
    }
}

impl GroupRequest for LeaveGroup {
    type Request = LeaveGroupRequest;

    fn failed(_version: i16, _request: LeaveGroupRequest, error: ErrorCode) -> LeaveGroupResponse {
        LeaveGroupResponse {
            error_code: error.code(),
            ..LeaveGroupResponse::default()
        }
    }
}
