//! The gRPC service: one method per RPC, each in a file of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use highwater_node::session::name_active_controller;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_server::Controller;
use highwater_proto::metadata::convert::ConvertError;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::{Command, Refusal};
use crate::service::decider::Decided;
use crate::service::office::{Office, Role};
use crate::service::{
    DecisionError, Shared, allocate_producer_ids, alter_configs, alter_partition_reassignments, alter_partitions,
    create_partitions, create_topics, delete_topics, elect_leaders, session, unregister_broker, watch_metadata,
};

/// What a stream of answers looks like to tonic.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How long a standby that knows of no active controller lets callers wait for one, before it tells them so.
const ELECTION_WAIT: Duration = Duration::from_secs(1);

/// Implements the `Controller` service.
pub struct ControllerService {
    office: Arc<Office>,
}

impl ControllerService {
    pub(crate) fn new(office: Arc<Office>) -> Self {
        Self { office }
    }

    /// What this controller decides with, if it is the active one. The refusal names who is.
    pub(super) async fn active(&self) -> Result<Arc<Shared>, Status> {
        let mut roles = self.office.role.subscribe();
        let elected = roles.wait_for(|role| !matches!(role, Role::Standby(None)));
        let role = tokio::select! {
            role = tokio::time::timeout(ELECTION_WAIT, elected) => role.ok().and_then(Result::ok).map(|role| role.clone()),
            () = self.office.shutdown.triggered() => return Err(Status::unavailable("the controller stops")),
        };
        match role {
            Some(Role::Active(shared)) => Ok(shared),
            Some(Role::Standby(Some(active))) => Err(name_active_controller(&active)),
            Some(Role::Standby(None)) | None => Err(Status::unavailable("no controller is active")),
        }
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
        session::handle(&self.active().await?, request).map(Response::new)
    }

    async fn watch_metadata(
        &self,
        request: Request<grpc::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        watch_metadata::handle(&self.office, &request.into_inner()).map(Response::new)
    }

    async fn create_topics(
        &self,
        request: Request<grpc::CreateTopicsRequest>,
    ) -> Result<Response<grpc::CreateTopicsResponse>, Status> {
        create_topics::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_topics(
        &self,
        request: Request<grpc::DeleteTopicsRequest>,
    ) -> Result<Response<grpc::DeleteTopicsResponse>, Status> {
        delete_topics::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_partitions(
        &self,
        request: Request<grpc::CreatePartitionsRequest>,
    ) -> Result<Response<grpc::CreatePartitionsResponse>, Status> {
        create_partitions::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_configs(
        &self,
        request: Request<grpc::AlterConfigsRequest>,
    ) -> Result<Response<grpc::AlterConfigsResponse>, Status> {
        alter_configs::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_partitions(
        &self,
        request: Request<grpc::AlterPartitionsRequest>,
    ) -> Result<Response<grpc::AlterPartitionsResponse>, Status> {
        alter_partitions::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_partition_reassignments(
        &self,
        request: Request<grpc::AlterPartitionReassignmentsRequest>,
    ) -> Result<Response<grpc::AlterPartitionReassignmentsResponse>, Status> {
        alter_partition_reassignments::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn elect_leaders(
        &self,
        request: Request<grpc::ElectLeadersRequest>,
    ) -> Result<Response<grpc::ElectLeadersResponse>, Status> {
        elect_leaders::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn unregister_broker(
        &self,
        request: Request<grpc::UnregisterBrokerRequest>,
    ) -> Result<Response<grpc::UnregisterBrokerResponse>, Status> {
        unregister_broker::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn allocate_producer_ids(
        &self,
        request: Request<grpc::AllocateProducerIdsRequest>,
    ) -> Result<Response<grpc::AllocateProducerIdsResponse>, Status> {
        allocate_producer_ids::handle(&*self.active().await?, request.into_inner())
            .await
            .map(Response::new)
    }
}
