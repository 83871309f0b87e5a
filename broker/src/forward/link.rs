//! One stream to one coordinator process: correlation ids out, replies in.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use highwater_node::transport::MAX_MESSAGE_BYTES;
use highwater_proto::grpc::coordinator_client::CoordinatorClient;
use highwater_proto::grpc::{self, ForwardRequest, ForwardResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{NodeId, Revision, ShardId, ShardKind};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::ForwardedRequest;

/// Requests that may wait in front of one coordinator. A join may stay parked for minutes, so this bounds members, not
/// requests a second.
const MAX_IN_FLIGHT: usize = 200_000;
/// Requests handed over but not yet taken by the stream.
const MAX_QUEUED: usize = 4_096;

pub(super) type Reply = oneshot::Receiver<Result<Bytes, ErrorCode>>;

#[derive(Debug)]
struct Pending {
    shard: ShardId,
    reply: oneshot::Sender<Result<Bytes, ErrorCode>>,
}

/// A stream to one incarnation of a coordinator.
#[derive(Debug)]
pub(super) struct Link {
    coordinator: NodeId,
    requests: mpsc::Sender<ForwardRequest>,
    next_correlation: AtomicU64,
    /// Guarded together with the hand-over, so that the order on the stream is the order of `send`.
    pending: Mutex<HashMap<u64, Pending>>,
    closed: CancellationToken,
}

impl Link {
    pub(super) fn open(coordinator: NodeId, channel: Channel) -> Arc<Self> {
        let (requests, outgoing) = mpsc::channel(MAX_QUEUED);
        let link = Arc::new(Self {
            coordinator,
            requests,
            next_correlation: AtomicU64::new(1),
            pending: Mutex::new(HashMap::new()),
            closed: CancellationToken::new(),
        });
        let runner = Arc::clone(&link);
        tokio::spawn(async move {
            let closed = runner.closed.clone();
            tokio::select! {
                () = closed.cancelled() => {}
                outcome = runner.run(channel, outgoing) => if let Err(status) = outcome {
                    tracing::info!(coordinator = %runner.coordinator, %status,
                        "stream to the coordinator ended; clients are told to look for it again");
                },
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
        self.pending.lock().clear();
    }

    /// Fails what is in flight for shards that are no longer `owned` by this coordinator.
    pub(super) fn fail_moved(&self, owned: impl Fn(ShardId) -> bool) {
        // Dropping the sender answers NOT_COORDINATOR; a late reply finds no entry and is dropped.
        self.pending.lock().retain(|_, pending| owned(pending.shard));
    }

    pub(super) fn send(&self, request: ForwardedRequest, image_revision: Revision) -> Result<Reply, ErrorCode> {
        let (sender, receiver) = oneshot::channel();
        let correlation = self.next_correlation.fetch_add(1, Ordering::Relaxed);
        let shard = request.shard;
        let message = ForwardRequest {
            correlation,
            image_revision: image_revision.get(),
            shard: Some(shard_to_grpc(shard)),
            api_key: i32::from(request.api_key),
            api_version: i32::from(request.api_version),
            client_id: request.client_id,
            client_host: request.client_host,
            body: request.body,
        };
        let mut pending = self.pending.lock();
        if self.is_closed() {
            return Err(ErrorCode::NotCoordinator);
        }
        // A client that went away leaves its entry behind until the reply comes: drop those before refusing anybody.
        if pending.len() >= MAX_IN_FLIGHT {
            pending.retain(|_, pending| !pending.reply.is_closed());
        }
        if pending.len() >= MAX_IN_FLIGHT {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        // Nothing has left when the queue is full, so the retriable error is the truth.
        self.requests.try_send(message).map_err(|_| ErrorCode::CoordinatorLoadInProgress)?;
        pending.insert(correlation, Pending { shard, reply: sender });
        Ok(receiver)
    }

    async fn run(&self, channel: Channel, outgoing: mpsc::Receiver<ForwardRequest>) -> Result<(), tonic::Status> {
        let mut client = CoordinatorClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut replies = client.forward(ReceiverStream::new(outgoing)).await?.into_inner();
        while let Some(reply) = replies.message().await? {
            self.complete(reply);
        }
        Ok(())
    }

    fn complete(&self, reply: ForwardResponse) {
        let Some(pending) = self.pending.lock().remove(&reply.correlation) else { return };
        let outcome = match i16::try_from(reply.error) {
            Ok(0) => Ok(reply.body),
            Ok(code) => Err(ErrorCode::from_code(code)),
            Err(_) => Err(ErrorCode::UnknownServerError),
        };
        // The client may have gone away meanwhile.
        let _ = pending.reply.send(outcome);
    }
}

fn shard_to_grpc(shard: ShardId) -> grpc::ShardId {
    let kind = match shard.kind {
        ShardKind::Group => grpc::ShardKind::Group,
        ShardKind::Transaction => grpc::ShardKind::Transaction,
    };
    grpc::ShardId { kind: kind.into(), index: shard.index.get() }
}
