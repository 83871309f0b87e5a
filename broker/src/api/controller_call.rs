//! What the admin APIs share: asking the controller within the client's time, then waiting until this broker's own
//! image has what was decided, so that the client's next request to it finds it.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use highwater_node::session::{Backoff, named_active_controller};
use highwater_node::transport::Channel;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::Revision;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

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
/// answer stands all the same. While no controller can be reached, or one dies over it, the request is repeated: for
/// requests whose repeat changes nothing.
///
/// # Errors
/// `REQUEST_TIMED_OUT` if the controller does not answer in time: it may still carry the request out.
pub(super) async fn ask<R, F>(broker: &Broker, deadline: Instant, call: impl Fn(Controller) -> F) -> Result<R, Refused>
where
    R: Decided,
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let answer = ask_again(broker, deadline, |controller, _| call(controller)).await;
    answer.map(|(decided, _)| decided)
}

/// The same for a request that is not to be carried out twice, or whose repeat is refused because it is done: the call
/// learns, and the answer says, whether an earlier attempt may have been carried out.
///
/// # Errors
/// As [`ask`].
pub(super) async fn ask_again<R, F>(
    broker: &Broker,
    deadline: Instant,
    call: impl Fn(Controller, bool) -> F,
) -> Result<(R, bool), Refused>
where
    R: Decided,
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let (mut unavailable, mut maybe_done) = (None, false);
    let attempt = |maybe_done| call(broker.controller(), maybe_done);
    let answer = timeout_at(deadline, repeat(&mut unavailable, &mut maybe_done, attempt)).await;
    let decided = answer.unwrap_or_else(|_| {
        let reason = unavailable.as_deref().unwrap_or("the controller did not answer");
        tracing::warn!(reason, "a client's request could not be carried out in time");
        Err(timed_out(reason))
    })?;
    broker.wait_for_image(decided.revision(), deadline).await;
    Ok((decided, maybe_done))
}

/// Asks until there is an answer; keeps the reason why there was none last.
async fn repeat<R, F>(
    unavailable: &mut Option<String>,
    maybe_done: &mut bool,
    call: impl Fn(bool) -> F,
) -> Result<R, Refused>
where
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match call(*maybe_done).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if passes(&status) => {
                tracing::debug!(%status, "the controller cannot be reached");
                // Only one that does not decide has certainly done nothing.
                *maybe_done |= named_active_controller(&status).is_none();
                *unavailable = Some(status.message().to_owned());
                tokio::time::sleep(backoff.pause()).await;
            }
            Err(status) => return Err(refused_by_transport(&status)),
        }
    }
}

/// True if there is no controller to decide at present, or the one that was asked died over it: then the status is the
/// transport's own, which has a source.
fn passes(status: &tonic::Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
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

/// A result that says that there is nothing to do stands for success if an earlier attempt may have done it.
pub(super) fn done_before(
    result: Result<(), Refused>,
    maybe_done: bool,
    nothing_to_do: ErrorCode,
) -> Result<(), Refused> {
    match result {
        Err(refused) if maybe_done && refused.code == nothing_to_do => Ok(()),
        result => result,
    }
}
