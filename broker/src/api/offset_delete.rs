//! OffsetDelete (Kafka API): forwarded to the coordinator of the group.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode};

use crate::api::forwarded::{GroupRequest, dispatch_by_group};
use crate::api::{RawApi, RawRequest};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct OffsetDelete;

impl RawApi for OffsetDelete {
    const KEY: ApiKey = ApiKey::OffsetDelete;
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        dispatch_by_group::<Self>(request)
    }
}

impl GroupRequest for OffsetDelete {
    type Request = OffsetDeleteRequest;

    fn failed(_version: i16, _request: OffsetDeleteRequest, error: ErrorCode) -> OffsetDeleteResponse {
        OffsetDeleteResponse {
            error_code: error.code(),
            ..OffsetDeleteResponse::default()
        }
    }
}
