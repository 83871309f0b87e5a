//! One stream to one coordinator process: correlation ids out, replies in.

use std::collections::HashMap;
use std::sync::Arc;

use highwater_node::transport::{Channel, MAX_BODY_BYTES, MAX_MESSAGE_BYTES};
use highwater_proto::grpc::coordinator_client::CoordinatorClient;
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{CoordinatorEpoch, NodeId, Revision, ShardId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{Forwarded, ForwardedRequest};

/// Requests that may wait in front of one coordinator. A join may stay parked for minutes, so this bounds members, not
/// requests a second.
const MAX_IN_FLIGHT: usize = 200_000;
/// Requests handed over but not yet taken by the stream.
pub(super) const MAX_QUEUED: usize = 4_096;

pub(super) type Outcome = Result<Forwarded, ErrorCode>;

#[derive(Debug)]
struct Pending {
    shard: ShardId,
    epoch: CoordinatorEpoch,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Debug, Default)]
struct InFlight {
    last_correlation: u64,
    pending: HashMap<u64, Pending>,
}

/// A stream to one incarnation of a coordinator.
#[derive(Debug)]
pub(super) struct Link {
    coordinator: NodeId,
    requests: mpsc::Sender<ForwardRequest>,
    /// Locked over the hand-over too, so that correlation ids leave in their order and no reply comes before its entry.
    in_flight: Mutex<InFlight>,
    closed: CancellationToken,
}

/// A reply that is on its way. Whoever drops it wants it no more: its place is free again, and it is dropped when it
/// comes.
#[derive(Debug)]
pub(super) struct Reply {
    link: Arc<Link>,
    correlation: u64,
    receiver: oneshot::Receiver<Outcome>,
    decided: bool,
}

impl Reply {
    /// What the coordinator answered. `NOT_COORDINATOR` when the stream breaks or the shard moves: nobody knows then
    /// whether the request was handled.
    pub(super) async fn outcome(mut self) -> Outcome {
        let outcome = (&mut self.receiver).await;
        self.decided = true;
        outcome.unwrap_or(Err(ErrorCode::NotCoordinator))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.decided {
            self.link.in_flight.lock().pending.remove(&self.correlation);
        }
    }
}

impl Link {
    pub(super) fn open(coordinator: NodeId, channel: Channel) -> Arc<Self> {
        let (requests, outgoing) = mpsc::channel(MAX_QUEUED);
        let link = Arc::new(Self {
            coordinator,
            requests,
            in_flight: Mutex::default(),
            closed: CancellationToken::new(),
        });
        let runner = Arc::clone(&link);
        tokio::spawn(async move {
            let closed = runner.closed.clone();
            tokio::select! {
                () = closed.cancelled() => {}
                () = runner.run(channel, outgoing) => {}
            }
            runner.close();
        });
        link
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends the stream; everything in flight is answered `NOT_COORDINATOR`.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.in_flight.lock().pending.clear();
    }

    /// Fails what is in flight for shards that `image` assigns otherwise: to another coordinator, or to this one anew.
    pub(super) fn fail_moved(&self, image: &MetadataImage) {
        let stands = |pending: &Pending| {
            let assignment = image.shards.get(&pending.shard);
            assignment.is_some_and(|it| it.owner == Some(self.coordinator) && it.epoch == pending.epoch)
        };
        // Dropping the sender answers NOT_COORDINATOR; a late reply finds no entry and is dropped.
        self.in_flight.lock().pending.retain(|_, pending| stands(pending));
    }

    /// Hands a request over, once and for all. `epoch` is that of the assignment in the image at `image_revision`.
    ///
    /// # Errors
    /// Nothing has left then.
    pub(super) fn send(
        self: &Arc<Self>,
        request: ForwardedRequest,
        epoch: CoordinatorEpoch,
        image_revision: Revision,
    ) -> Result<Reply, ErrorCode> {
        // Only where `socket.request.max.bytes` was raised.
        if request.body.len() > MAX_BODY_BYTES {
            return Err(ErrorCode::InvalidRequest);
        }
        let (sender, receiver) = oneshot::channel();
        let shard = request.shard;
        let mut in_flight = self.in_flight.lock();
        if self.is_closed() {
            return Err(ErrorCode::NotCoordinator);
        }
        if in_flight.pending.len() >= MAX_IN_FLIGHT {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        let correlation = in_flight.last_correlation + 1;
        let message = ForwardRequest {
            correlation,
            image_revision: image_revision.get(),
            shard: Some(shard.into()),
            api_key: i32::from(request.api_key),
            api_version: i32::from(request.api_version),
            client_id: request.client_id,
            client_host: request.client_host,
            body: request.body,
            traceparent: request.traceparent,
        };
        self.requests.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ErrorCode::CoordinatorLoadInProgress,
            mpsc::error::TrySendError::Closed(_) => ErrorCode::NotCoordinator,
        })?;
        in_flight.last_correlation = correlation;
        in_flight.pending.insert(
            correlation,
            Pending {
                shard,
                epoch,
                reply: sender,
            },
        );
        drop(in_flight);
        Ok(Reply {
            link: Arc::clone(self),
            correlation,
            receiver,
            decided: false,
        })
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.lock().pending.len()
    }

    async fn run(&self, channel: Channel, outgoing: mpsc::Receiver<ForwardRequest>) {
        let coordinator = self.coordinator;
        let mut client = CoordinatorClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut replies = match client.forward(ReceiverStream::new(outgoing)).await {
            Ok(replies) => replies.into_inner(),
            // Each request of a client tries anew: not worth a line each while the controller finds out.
            Err(status) => return tracing::debug!(%coordinator, %status, "no stream to the coordinator"),
        };
        let end = loop {
            match replies.message().await {
                Ok(Some(reply)) => self.complete(reply),
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        tracing::info!(%coordinator, status = ?end, "stream to the coordinator ended; clients are told to look for it again");
    }

    fn complete(&self, reply: ForwardResponse) {
        let Some(pending) = self.in_flight.lock().pending.remove(&reply.correlation) else {
            return;
        };
        let outcome = match i16::try_from(reply.error) {
            Ok(0) => Ok(Forwarded::from(reply)),
            Ok(code) => Err(ErrorCode::from_code(code)),
            Err(_) => Err(ErrorCode::UnknownServerError),
        };
        // The client may have gone away meanwhile.
        let _ = pending.reply.send(outcome);
    }
}
