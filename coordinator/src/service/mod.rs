//! The gRPC service `Coordinator`: what brokers forward, a file per RPC.

mod forward;

use std::sync::Arc;

use highwater_node::transport::MAX_MESSAGE_BYTES;
use highwater_proto::grpc::coordinator_server::{self, CoordinatorServer};
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::runtime::Runtime;

/// Replies that the connection has not taken yet.
const OUTBOX: usize = 1_024;

/// The service of one coordinator.
pub struct Service {
    runtime: Arc<Runtime>,
    stop: CancellationToken,
}

impl Service {
    /// The service, ready to be added to a server.
    pub(crate) fn server(runtime: Arc<Runtime>, stop: CancellationToken) -> CoordinatorServer<Self> {
        CoordinatorServer::new(Self { runtime, stop })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl coordinator_server::Coordinator for Service {
    type ForwardStream = ReceiverStream<Result<ForwardResponse, Status>>;

    async fn forward(
        &self,
        request: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (replies, outgoing) = mpsc::channel(OUTBOX);
        let (runtime, stop) = (Arc::clone(&self.runtime), self.stop.clone());
        tokio::spawn(forward::run(runtime, request.into_inner(), replies, stop));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
