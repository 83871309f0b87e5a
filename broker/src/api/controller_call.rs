//! What the admin APIs share: asking the controller within the client's time, then waiting until this broker's own
//! image has what was decided, so that the client's next request to it finds it.

use std::future::Future;
use std::time::Duration;

use highwater_node::session::Backoff;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::Revision;
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use tonic::transport::Channel;

use crate::broker::Broker;

/// Time that a request gets which names none, or hardly any: it is carried out anyway.
const MIN_TIME: Duration = Duration::from_secs(1);
/// Time that a request gets at most.
const MAX_TIME: Duration = Duration::from_secs(120);

/// Pauses while no controller can be reached.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An error with the text that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(super) fn text(&self) -> Option<ByteStr> {
        Some(ByteStr::from(self.message.as_str()))
    }
}

/// The client of the active controller.
pub(super) type Controller = ControllerClient<Channel>;

/// An answer of the controller that changes the image.
pub(super) trait Decided {
    /// The revision at which the decision shows.
    fn revision(&self) -> Revision;
}

macro_rules! decided {
    ($($response:ident)*) => {
        $(impl Decided for grpc::$response {
            fn revision(&self) -> Revision {
                Revision(self.revision)
            }
        })*
    };
}

decided!(CreateTopicsResponse DeleteTopicsResponse CreatePartitionsResponse AlterConfigsResponse);
decided!(AlterPartitionReassignmentsResponse ElectLeadersResponse UnregisterBrokerResponse);

/// When a request with this `timeout_ms` has to be answered.
pub(super) fn deadline(timeout_ms: i32) -> Instant {
    let asked = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Instant::now() + asked.clamp(MIN_TIME, MAX_TIME)
}

/// Asks the active controller and waits until this broker's image shows the decision; if only that takes too long, the
/// answer stands all the same. While no controller can be reached the request is repeated: the controller's decisions
/// bear that.
///
/// # Errors
/// `REQUEST_TIMED_OUT` if the controller does not answer in time: it may still carry the request out.
pub(super) async fn ask<R, F>(broker: &Broker, deadline: Instant, call: impl Fn(Controller) -> F) -> Result<R, Refused>
where
    R: Decided,
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let mut unavailable = None;
    let answer = timeout_at(deadline, repeat(&mut unavailable, || call(broker.controller()))).await;
    let decided = answer.unwrap_or_else(|_| {
        let reason = unavailable.as_deref().unwrap_or("the controller did not answer");
        tracing::warn!(reason, "a client's request could not be carried out in time");
        Err(timed_out(reason))
    })?;
    broker.wait_for_image(decided.revision(), deadline).await;
    Ok(decided)
}

/// Asks until there is an answer; keeps the reason why there was none last.
async fn repeat<R, F>(unavailable: &mut Option<String>, call: impl Fn() -> F) -> Result<R, Refused>
where
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if status.code() == Code::Unavailable => {
                tracing::debug!(%status, "the controller cannot be reached");
                *unavailable = Some(status.message().to_owned());
                tokio::time::sleep(backoff.pause()).await;
            }
            Err(status) => return Err(refused_by_transport(&status)),
        }
    }
}

/// The controller answers requests of clients with outcomes; a status says that it could not be asked.
fn refused_by_transport(status: &tonic::Status) -> Refused {
    match status.code() {
        Code::InvalidArgument => Refused::new(ErrorCode::InvalidRequest, status.message()),
        Code::DeadlineExceeded | Code::Cancelled | Code::FailedPrecondition | Code::Aborted => {
            timed_out(status.message())
        }
        _ => {
            tracing::warn!(%status, "the controller failed a request");
            Refused::new(ErrorCode::UnknownServerError, status.message())
        }
    }
}

fn timed_out(reason: &str) -> Refused {
    Refused::new(
        ErrorCode::RequestTimedOut,
        format!("The request could not be carried out in time: {reason}."),
    )
}

/// What the controller made of one item.
pub(super) fn outcome(outcome: Option<grpc::Outcome>) -> Result<(), Refused> {
    let Some(outcome) = outcome else {
        return Err(Refused::new(
            ErrorCode::UnknownServerError,
            "The controller sent no outcome.",
        ));
    };
    let code = i16::try_from(outcome.code).map_or(ErrorCode::UnknownServerError, ErrorCode::from_code);
    if code == ErrorCode::None {
        return Ok(());
    }
    Err(Refused::new(code, outcome.message.unwrap_or_default()))
}

/// Code and text of a result, for the answer.
pub(super) fn code_and_text(result: &Result<(), Refused>) -> (i16, Option<ByteStr>) {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(refused) => (refused.code.code(), refused.text()),
    }
}
