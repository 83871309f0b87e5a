//! Why a config was refused.

use std::fmt;

/// A config that cannot be accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The key.
    pub key: String,
    /// The value, if there is one and it may be shown.
    pub value: Option<String>,
    /// What is wrong and what is allowed, in lowercase.
    pub reason: String,
    /// Which error a client gets.
    pub kind: ConfigErrorKind,
}

/// Which of Kafka's errors a refused config is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// `INVALID_CONFIG`: key or value are not acceptable.
    InvalidConfig,
    /// `INVALID_REQUEST`: the key cannot be changed in this way.
    InvalidRequest,
}

impl ConfigErrorKind {
    /// The protocol's error code.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::InvalidConfig => 40,
            Self::InvalidRequest => 42,
        }
    }
}

impl ConfigError {
    /// A value that a process cannot start with; `reason` says what is allowed.
    #[must_use]
    pub fn refused(key: &str, value: &str, reason: &str) -> Self {
        Self::invalid(key, value, reason)
    }

    /// A key that no process knows.
    #[must_use]
    pub fn unknown_key(key: &str) -> Self {
        Self::unknown("broker", key)
    }

    pub(super) fn invalid(key: &str, value: &str, reason: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            reason: reason.into(),
            kind: ConfigErrorKind::InvalidConfig,
        }
    }

    pub(super) fn unknown(what: &str, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: None,
            reason: format!("unknown {what} config"),
            kind: ConfigErrorKind::InvalidConfig,
        }
    }

    pub(super) fn request(key: &str, reason: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: None,
            reason: reason.into(),
            kind: ConfigErrorKind::InvalidRequest,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "invalid value {value:?} for {}: {}", self.key, self.reason),
            None => write!(f, "{}: {}", self.key, self.reason),
        }
    }
}
