//! Heartbeat (Kafka API): forwarded to the coordinator of the group.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode};

use crate::api::forwarded::{GroupRequest, dispatch_by_group};
use crate::api::{RawApi, RawRequest};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct Heartbeat;

impl RawApi for Heartbeat {
    const KEY: ApiKey = ApiKey::Heartbeat;
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        dispatch_by_group::<Self>(request)
    }
}

impl GroupRequest for Heartbeat {
    type Request = HeartbeatRequest;

    fn failed(_version: i16, _request: HeartbeatRequest, error: ErrorCode) -> HeartbeatResponse {
        let error = match error {
            // A member of a shard that loads is not told (rule 75): clients end at this error here.
            ErrorCode::CoordinatorLoadInProgress => ErrorCode::None,
            error => error,
        };
        HeartbeatResponse {
            error_code: error.code(),
            ..HeartbeatResponse::default()
        }
    }
}
