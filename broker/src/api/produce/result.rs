//! What became of one partition of a request.

use highwater_proto::kafka::ErrorCode;

use crate::partition::AppendError;
use crate::records::Rejection;

pub(super) struct PartitionResult {
    pub(super) error: ErrorCode,
    pub(super) base_offset: i64,
    pub(super) log_append_time: i64,
    pub(super) log_start: i64,
    pub(super) rejection: Option<Box<Rejection>>,
}

impl From<ErrorCode> for PartitionResult {
    fn from(error: ErrorCode) -> Self {
        Self {
            error,
            base_offset: -1,
            log_append_time: -1,
            log_start: -1,
            rejection: None,
        }
    }
}

impl From<AppendError> for PartitionResult {
    fn from(error: AppendError) -> Self {
        Self {
            log_start: error.log_start.map_or(-1, |offset| offset.get()),
            ..Self::from(error.code)
        }
    }
}

impl From<Rejection> for PartitionResult {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection: Some(Box::new(rejection.clone())),
            ..Self::from(rejection.error_code())
        }
    }
}
