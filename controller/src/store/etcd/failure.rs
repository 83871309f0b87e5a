//! What an answer of etcd that is no success means for the one who asked.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::{Error, ResponseHeader};
use tonic::{Code, ConnectError, Status};

use crate::store::StoreError;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It never left, or was turned away before anything happened. It may be tried again, here or elsewhere.
    #[error("{0}")]
    NotDone(String),
    /// etcd will not do it, and nothing happened. To try again does not help until somebody changes something.
    #[error("{0}")]
    Refused(String),
    /// The revision is no longer kept.
    #[error("the revision was compacted")]
    Compacted,
    /// The lease is no more.
    #[error("the lease has ended")]
    LeaseEnded,
    /// It may have happened, or may happen yet.
    #[error("{0}")]
    InDoubt(String),
}

impl Failure {
    pub(super) fn silence(waited: Duration) -> Self {
        Self::InDoubt(format!("no answer within {} ms", waited.as_millis()))
    }

    /// Whether another endpoint may do better.
    pub(super) fn is_of_the_endpoint(&self) -> bool {
        matches!(self, Self::NotDone(_) | Self::InDoubt(_))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => of_status(&status),
            Error::TransportError(error) => Self::NotDone(with_sources(&error)),
            Error::LeaseKeepAliveError(reason) if reason == "lease not found" => Self::LeaseEnded,
            Error::InvalidArgs(_) | Error::InvalidUri(_) => Self::Refused(error.to_string()),
            other => Self::InDoubt(other.to_string()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => Self::Refused(reason),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// etcd's revision when it answered.
pub(super) fn header_revision(header: Option<&ResponseHeader>) -> Result<i64, Failure> {
    let revision = header.map(ResponseHeader::revision);
    revision.ok_or_else(|| Failure::InDoubt("an answer without a header".to_owned()))
}

fn of_status(status: &Status) -> Failure {
    let (message, text) = (status.message(), || described(status));
    if not_connected(status) {
        return Failure::NotDone(text());
    }
    match status.code() {
        // Out of quota, or too many requests in flight.
        Code::ResourceExhausted => Failure::NotDone(text()),
        Code::OutOfRange if message.contains("compacted") => Failure::Compacted,
        Code::NotFound if message.contains("lease") => Failure::LeaseEnded,
        // Users or roles are being changed: the next attempt sees the new ones.
        Code::InvalidArgument if message.contains("auth store is old") => Failure::NotDone(text()),
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => Failure::Refused(text()),
        _ => Failure::InDoubt(text()),
    }
}

/// Whether the connection that the request was to go over never came to be.
fn not_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn described(status: &Status) -> String {
    match status.source() {
        Some(source) => with_sources(source),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> Failure {
        Error::GRpcStatus(Status::new(code, message)).into()
    }

    #[test]
    fn what_may_have_happened_is_told_from_what_did_not() {
        // The messages are etcd's (api/v3rpc/rpctypes/error.go).
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Unavailable, "error reading a body from connection"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Cancelled, "operation was canceled"),
            (Code::Unknown, "h2 protocol error: error reading a body from connection"),
            (Code::Internal, "h2 protocol error"),
        ] {
            assert!(matches!(of(code, message), Failure::InDoubt(_)), "{message}");
        }
        for (code, message) in [
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
        ] {
            assert!(matches!(of(code, message), Failure::NotDone(_)), "{message}");
        }
        for (code, message) in [
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            (Code::PermissionDenied, "etcdserver: permission denied"),
        ] {
            assert!(matches!(of(code, message), Failure::Refused(_)), "{message}");
        }
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(of(Code::OutOfRange, compacted), Failure::Compacted);
        assert_eq!(
            of(Code::NotFound, "etcdserver: requested lease not found"),
            Failure::LeaseEnded
        );
    }
}
