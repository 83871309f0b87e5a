//! The gRPC service: one method per RPC, each in a file of its own.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_server::Controller;
use highwater_proto::metadata::convert::ConvertError;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::{Command, Refusal};
use crate::service::decider::Decided;
use crate::service::{
    DecisionError, Shared, allocate_producer_ids, alter_configs, alter_partitions, create_partitions, create_topics,
    delete_topics, session, watch_metadata,
};

/// What a stream of answers looks like to tonic.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Implements the `Controller` service.
pub struct ControllerService {
    shared: Arc<Shared>,
}

impl ControllerService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Shared {
    /// Decides on a command, with the status that callers get if there is no answer.
    pub(crate) async fn decided<C>(&self, command: C) -> Result<Decided<C::Reply>, Status>
    where
        C: Command + Send + 'static,
        C::Reply: Send,
    {
        self.decider.decide(command).await.map_err(|error| match error {
            DecisionError::NotActive | DecisionError::Unavailable(_) => Status::unavailable(error.to_string()),
            DecisionError::Overloaded => Status::resource_exhausted(error.to_string()),
            DecisionError::Unknown(_) => Status::aborted(error.to_string()),
        })
    }
}

/// The status for a request that no process of ours would send.
pub(super) fn malformed(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// An outcome in the terms of gRPC.
pub(super) fn outcome<T>(result: &Result<T, Refusal>) -> Option<grpc::Outcome> {
    Some(match result {
        Ok(_) => grpc::Outcome { code: 0, message: None },
        Err(refusal) => grpc::Outcome {
            code: i32::from(refusal.code.code()),
            message: Some(refusal.message.clone()),
        },
    })
}

#[tonic::async_trait]
impl Controller for ControllerService {
    type SessionStream = Answers<grpc::SessionResponse>;
    type WatchMetadataStream = Answers<grpc::MetadataUpdate>;

    async fn session(
        &self,
        request: Request<Streaming<grpc::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        session::handle(&self.shared, request).map(Response::new)
    }

    async fn watch_metadata(
        &self,
        request: Request<grpc::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        watch_metadata::handle(&self.shared, &request.into_inner()).map(Response::new)
    }

    async fn create_topics(
        &self,
        request: Request<grpc::CreateTopicsRequest>,
    ) -> Result<Response<grpc::CreateTopicsResponse>, Status> {
        create_topics::handle(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_topics(
        &self,
        request: Request<grpc::DeleteTopicsRequest>,
    ) -> Result<Response<grpc::DeleteTopicsResponse>, Status> {
        delete_topics::handle(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_partitions(
        &self,
        request: Request<grpc::CreatePartitionsRequest>,
    ) -> Result<Response<grpc::CreatePartitionsResponse>, Status> {
        create_partitions::handle(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_configs(
        &self,
        request: Request<grpc::AlterConfigsRequest>,
    ) -> Result<Response<grpc::AlterConfigsResponse>, Status> {
        alter_configs::handle(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_partitions(
        &self,
        request: Request<grpc::AlterPartitionsRequest>,
    ) -> Result<Response<grpc::AlterPartitionsResponse>, Status> {
        alter_partitions::handle(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn allocate_producer_ids(
        &self,
        request: Request<grpc::AllocateProducerIdsRequest>,
    ) -> Result<Response<grpc::AllocateProducerIdsResponse>, Status> {
        allocate_producer_ids::handle(&self.shared, request.into_inner())
            .await
            .map(Response::new)
    }
}
