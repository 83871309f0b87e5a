//! An answer that says no, in Kafka's words.

use highwater_proto::config::{ConfigError, ConfigErrorKind};
use highwater_proto::kafka::ErrorCode;

/// A Kafka error with the text that clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's error code.
    pub code: ErrorCode,
    /// Why, for a human.
    pub message: String,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        let code = match error.kind {
            ConfigErrorKind::InvalidConfig => ErrorCode::InvalidConfig,
            ConfigErrorKind::InvalidRequest => ErrorCode::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}
