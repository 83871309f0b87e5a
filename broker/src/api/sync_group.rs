//! SyncGroup (Kafka API): forwarded to the coordinator of the group.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode};

use crate::api::forwarded::{GroupRequest, dispatch_by_group};
use crate::api::{RawApi, RawRequest};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct SyncGroup;

impl RawApi for SyncGroup {
    const KEY: ApiKey = ApiKey::SyncGroup;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        dispatch_by_group::<Self>(request)
    }
}

impl GroupRequest for SyncGroup {
    type Request = SyncGroupRequest;

    fn failed(_version: i16, _request: SyncGroupRequest, error: ErrorCode) -> SyncGroupResponse {
        let error = match error {
            // Clients end at COORDINATOR_LOAD_IN_PROGRESS here, which they do not expect. The rebalance is lost with the
            // state of the shard: they join again, and that may be told to wait.
            ErrorCode::CoordinatorLoadInProgress => ErrorCode::RebalanceInProgress,
            error => error,
        };
        SyncGroupResponse {
            error_code: error.code(),
            ..SyncGroupResponse::default()
        }
    }
}
