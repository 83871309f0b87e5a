//! Forward: requests of a broker's clients, in order, and their replies as they come.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use highwater_node::telemetry::Trace;
use highwater_node::transport::MAX_BODY_BYTES;
use highwater_proto::grpc::forward_response::ErrorCount;
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{Revision, ShardId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::api::{self, Context, Encoded};
use crate::runtime::Runtime;
use crate::shard::Outcome;

/// Requests of one stream that may wait for their replies. Joins are parked, so these are members rather than requests
/// per second; when they are that many, nothing more is read.
const MAX_IN_FLIGHT: usize = 200_000;

/// A request whose sender knows a newer image. Those behind it wait too: requests of one connection stay in order.
struct Held {
    request: ForwardRequest,
    until: Instant,
}

/// Serves one stream until it ends, or until the coordinator stops and nobody waits any more.
pub(super) async fn run(
    runtime: Arc<Runtime>,
    mut requests: Streaming<ForwardRequest>,
    replies: mpsc::Sender<Result<ForwardResponse, Status>>,
    stop: CancellationToken,
) {
    let mut images = runtime.images.clone();
    let timeout = runtime.config.image_timeout;
    let mut in_flight = FuturesUnordered::new();
    let mut held: Option<Held> = None;
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        if let Some(ready) = held.take_if(|held| is_ready(held, &image)) {
            in_flight.push(answer(handle(&runtime, &image, ready.request)));
        }
        let until = held.as_ref().map(|held| held.until);
        tokio::select! {
            biased;
            Some(response) = in_flight.next() => {
                if replies.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            changed = images.changed(), if held.is_some() => if changed.is_err() { return },
            () = sleep_until(until), if held.is_some() => {}
            message = requests.message(), if held.is_none() && in_flight.len() < MAX_IN_FLIGHT => match message {
                Ok(Some(request)) => held = Some(Held { request, until: Instant::now() + timeout }),
                // The broker is gone: it answers its clients itself.
                Ok(None) | Err(_) => return,
            },
            () = stop.cancelled(), if in_flight.is_empty() => return,
        }
    }
}

fn is_ready(held: &Held, image: &MetadataImage) -> bool {
    image.revision >= Revision(held.request.image_revision) || Instant::now() >= held.until
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A request on its way.
struct Pending {
    correlation: u64,
    api_key: i32,
    version: i16,
    sent: Result<oneshot::Receiver<Outcome>, ErrorCode>,
    /// Open until the answer is on its way.
    trace: Option<Trace>,
}

/// Hands the request to its shard.
fn handle(runtime: &Runtime, image: &MetadataImage, request: ForwardRequest) -> Pending {
    let (correlation, api_key) = (request.correlation, request.api_key);
    let version = i16::try_from(request.api_version).unwrap_or(i16::MAX);
    let trace = join_trace(&request);
    let sent = if image.revision < Revision(request.image_revision) {
        // Its sender knows better who owns what.
        Err(ErrorCode::CoordinatorLoadInProgress)
    } else {
        send(runtime, image, request, version, trace.clone())
    };
    Pending {
        correlation,
        api_key,
        version,
        sent,
        trace,
    }
}

/// Goes on with the trace of the client's request, if it is followed.
fn join_trace(request: &ForwardRequest) -> Option<Trace> {
    if request.traceparent.is_empty() {
        return None;
    }
    let trace = Trace::join(&request.traceparent, "coordinator")?;
    let shard = request.shard.as_ref().map_or(-1, |shard| shard.index);
    trace.set("api.key", i64::from(request.api_key));
    trace.set("shard", i64::from(shard));
    trace
        .log_span()
        .in_scope(|| tracing::debug!(api_key = request.api_key, shard, "serving a traced request"));
    Some(trace)
}

fn send(
    runtime: &Runtime,
    image: &MetadataImage,
    request: ForwardRequest,
    version: i16,
    trace: Option<Trace>,
) -> Result<oneshot::Receiver<Outcome>, ErrorCode> {
    let shard = request.shard.ok_or(ErrorCode::InvalidRequest)?;
    let shard = ShardId::try_from(shard).map_err(|_| ErrorCode::InvalidRequest)?;
    let context = Context {
        version,
        client_id: &request.client_id,
        client_host: &request.client_host,
        image,
        member_uuid: Uuid::new_v4(),
    };
    let decoded = api::decode(request.api_key, request.body, &context)?;
    runtime.send(shard, decoded, trace)
}

async fn answer(pending: Pending) -> ForwardResponse {
    let _open = pending.trace;
    let outcome = match pending.sent {
        // The shard's task has ended with the request: nobody knows whether it was handled.
        Ok(reply) => reply.await.unwrap_or(Err(ErrorCode::NotCoordinator)),
        Err(error) => Err(error),
    };
    let encoded = outcome.and_then(|reply| api::encode(pending.api_key, pending.version, reply));
    let encoded = encoded.and_then(|encoded| bounded(pending.api_key, encoded));
    let (error, encoded) = match encoded {
        Ok(encoded) => (0, encoded),
        Err(error) => (i32::from(error.code()), Encoded::default()),
    };
    let errors = encoded.errors.into_iter();
    ForwardResponse {
        correlation: pending.correlation,
        error,
        body: encoded.body,
        errors: errors
            .map(|(code, count)| ErrorCount {
                code: i32::from(code),
                count,
            })
            .collect(),
    }
}

/// A reply that no message can carry: whoever asked has to ask for less at a time.
fn bounded(api_key: i32, encoded: Encoded) -> Result<Encoded, ErrorCode> {
    let bytes = encoded.body.len();
    if bytes <= MAX_BODY_BYTES {
        return Ok(encoded);
    }
    tracing::warn!(
        api_key,
        bytes,
        limit = MAX_BODY_BYTES,
        "a client asked for more than one reply can hold: it has to name fewer groups or partitions at a time"
    );
    Err(ErrorCode::InvalidRequest)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_reply_that_would_end_the_stream_is_refused_alone() {
        let of = |bytes| Encoded {
            body: Bytes::from(vec![0; bytes]),
            errors: Vec::new(),
        };
        assert!(bounded(9, of(MAX_BODY_BYTES)).is_ok());
        assert_eq!(
            bounded(9, of(MAX_BODY_BYTES + 1)).err(),
            Some(ErrorCode::InvalidRequest)
        );
    }
}
