//! The gRPC service of the operator: one method per RPC, each in a file of its own.

mod adopt_topic;
mod alter_configs;
mod alter_replication;
mod controlled_shutdown;
mod create_partitions;
mod create_topic;
mod decommission_status;
mod delete_topic;
mod describe_cluster;
mod describe_topics;
mod node_duty;
mod pre_restart_check;
mod rebalance;
mod release_topic;
mod watch_topics;

use std::sync::Arc;

use highwater_node::transport::MAX_MESSAGE_BYTES;
use highwater_proto::grpc;
use highwater_proto::grpc::admin_server::{Admin, AdminServer};
use highwater_proto::metadata::convert;
use highwater_proto::types::TopicId;
use tonic::{Request, Response, Status};

use crate::cluster::owned_topic::TopicTask;
use crate::cluster::{DutyChange, OwnedTopic, Refusal};
use crate::service::office::Office;
use crate::service::rpc::{Answers, malformed, outcome};
use crate::service::{ControllerService, Shared, unregister_broker};

/// Implements the `Admin` service.
pub(super) struct AdminService {
    controller: ControllerService,
}

pub(super) fn server(office: &Arc<Office>) -> AdminServer<AdminService> {
    let controller = ControllerService::new(Arc::clone(office));
    AdminServer::new(AdminService { controller })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl AdminService {
    async fn active(&self) -> Result<Arc<Shared>, Status> {
        self.controller.active().await
    }
}

/// Nobody owns a topic whose owner is empty on the wire.
fn owner(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

/// Has a task of a topic's owner decided.
async fn on_topic<T>(shared: &Shared, topic_id: &[u8], of: String, task: T) -> Result<grpc::AdminResponse, Status>
where
    T: TopicTask + Send + 'static,
    T::Done: Send,
{
    let topic_id: TopicId = convert::topic_id(topic_id).map_err(malformed)?;
    let command = OwnedTopic {
        topic_id,
        owner: owner(of),
        task,
    };
    let decided = shared.decided(command).await?;
    Ok(answer(&decided.reply, decided.image.revision.get()))
}

fn answer<T>(result: &Result<T, Refusal>, revision: i64) -> grpc::AdminResponse {
    grpc::AdminResponse {
        outcome: outcome(result),
        revision,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[tonic::async_trait]
impl Admin for AdminService {
    type WatchTopicsStream = Answers<grpc::TopicsChanged>;

    async fn describe_cluster(
        &self,
        _: Request<grpc::DescribeClusterRequest>,
    ) -> Result<Response<grpc::DescribeClusterResponse>, Status> {
        Ok(Response::new(describe_cluster::handle(&*self.active().await?)))
    }

    async fn describe_topics(
        &self,
        request: Request<grpc::DescribeTopicsRequest>,
    ) -> Result<Response<grpc::DescribeTopicsResponse>, Status> {
        let shared = self.active().await?;
        Ok(Response::new(
            describe_topics::handle(&shared, &request.into_inner()).await,
        ))
    }

    async fn watch_topics(
        &self,
        _: Request<grpc::WatchTopicsRequest>,
    ) -> Result<Response<Self::WatchTopicsStream>, Status> {
        Ok(Response::new(watch_topics::handle(&self.active().await?)))
    }

    async fn create_topic(
        &self,
        request: Request<grpc::CreateTopicRequest>,
    ) -> Result<Response<grpc::CreateTopicResponse>, Status> {
        let shared = self.active().await?;
        create_topic::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_topic(
        &self,
        request: Request<grpc::DeleteTopicRequest>,
    ) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        delete_topic::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn adopt_topic(&self, request: Request<grpc::OwnedTopic>) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        adopt_topic::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn release_topic(&self, request: Request<grpc::OwnedTopic>) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        release_topic::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_partitions(
        &self,
        request: Request<grpc::AddPartitionsRequest>,
    ) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        create_partitions::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_configs(
        &self,
        request: Request<grpc::AlterTopicConfigsRequest>,
    ) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        alter_configs::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_replication(
        &self,
        request: Request<grpc::AlterReplicationRequest>,
    ) -> Result<Response<grpc::AlterReplicationResponse>, Status> {
        let shared = self.active().await?;
        alter_replication::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn rebalance(
        &self,
        request: Request<grpc::RebalanceRequest>,
    ) -> Result<Response<grpc::RebalanceResponse>, Status> {
        let shared = self.active().await?;
        rebalance::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn cordon(&self, request: Request<grpc::NodesRequest>) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        let changed = node_duty::handle(&shared, request.into_inner().node_ids, DutyChange::Cordon).await;
        changed.map(Response::new)
    }

    async fn uncordon(&self, request: Request<grpc::NodesRequest>) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        let changed = node_duty::handle(&shared, request.into_inner().node_ids, DutyChange::Uncordon).await;
        changed.map(Response::new)
    }

    async fn decommission(
        &self,
        request: Request<grpc::DecommissionRequest>,
    ) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        let request = request.into_inner();
        let throttle = convert::byte_rate(request.throttle_bytes_per_second);
        let changed = node_duty::handle(&shared, request.node_ids, DutyChange::Decommission { throttle }).await;
        changed.map(Response::new)
    }

    async fn recommission(
        &self,
        request: Request<grpc::NodesRequest>,
    ) -> Result<Response<grpc::AdminResponse>, Status> {
        let shared = self.active().await?;
        let changed = node_duty::handle(&shared, request.into_inner().node_ids, DutyChange::Recommission).await;
        changed.map(Response::new)
    }

    async fn decommission_status(
        &self,
        request: Request<grpc::NodesRequest>,
    ) -> Result<Response<grpc::DecommissionStatusResponse>, Status> {
        let shared = self.active().await?;
        Ok(Response::new(
            decommission_status::handle(&shared, &request.into_inner()).await,
        ))
    }

    async fn pre_restart_check(
        &self,
        request: Request<grpc::PreRestartCheckRequest>,
    ) -> Result<Response<grpc::PreRestartCheckResponse>, Status> {
        let shared = self.active().await?;
        Ok(Response::new(pre_restart_check::handle(&shared, &request.into_inner())))
    }

    async fn controlled_shutdown(
        &self,
        request: Request<grpc::ControlledShutdownRequest>,
    ) -> Result<Response<grpc::ControlledShutdownResponse>, Status> {
        let shared = self.active().await?;
        controlled_shutdown::handle(&shared, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn unregister_broker(
        &self,
        request: Request<grpc::UnregisterBrokerRequest>,
    ) -> Result<Response<grpc::UnregisterBrokerResponse>, Status> {
        let shared = self.active().await?;
        unregister_broker::handle(&shared, request.into_inner())
            .await
            .map(Response::new)
    }
}
