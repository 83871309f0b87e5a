//! What coordinators ask of the broker that leads an internal partition, and the operator of one that it removes: the
//! gRPC service `Broker`, a file per RPC.

mod append_shard;
mod await_high_watermark;
mod confirm_leaders;
mod confirm_shard;
mod open_shard;
mod partition_directories;
mod partition_ends;
mod read_shard;
mod witnesses;

use std::sync::Arc;
use std::time::Duration;

use highwater_node::transport::MAX_MESSAGE_BYTES;
use highwater_proto::grpc::broker_server::{self, BrokerServer};
use highwater_proto::grpc::{self};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, NodeId, ShardId};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use self::witnesses::{Leadership, Witnesses};
use crate::broker::Broker;
use crate::partition::{AckGroup, Partition, ack_error_code};
use crate::replica::check_assignment;

/// Longest wait for the high watermark that a coordinator may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The service of one broker.
#[derive(Clone, Debug)]
pub struct Service {
    broker: Arc<Broker>,
    witnesses: Arc<Witnesses>,
}

impl Service {
    /// The service, ready to be added to a server.
    #[must_use]
    pub fn server(broker: Arc<Broker>) -> BrokerServer<Self> {
        let witnesses = Arc::new(Witnesses::new(broker.forwarder().dialer().clone()));
        BrokerServer::new(Self { broker, witnesses })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Has the followers of a shard's partition say that they know no later leader than this broker.
    ///
    /// # Errors
    /// 74 when one of them does; 3 when the shard is gone; 7 when one of them did not answer.
    async fn ask_witnesses(
        &self,
        shard: ShardId,
        leader_epoch: LeaderEpoch,
        witnesses: &[NodeId],
    ) -> Result<(), ErrorCode> {
        if witnesses.is_empty() {
            return Ok(());
        }
        let image = self.broker.image();
        let topic = image
            .topic(shard.kind.topic())
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let leadership = Leadership {
            topic_id: topic.id,
            partition: shard.index,
            leader_epoch,
        };
        self.witnesses.ask(&image, leadership, witnesses).await
    }

    /// The partition behind a shard, if this broker has it.
    fn partition(&self, shard: ShardId) -> Result<Arc<Partition>, ErrorCode> {
        let image = self.broker.image();
        let topic = image
            .topic(shard.kind.topic())
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        self.broker.partitions().find(topic, shard.index.get())
    }

    /// Refuses an owner that the applied image has replaced. What the image cannot know yet is for the partition to
    /// refuse, under its lock.
    fn check_assignment(&self, shard: ShardId, epoch: CoordinatorEpoch) -> Result<(), ErrorCode> {
        let assigned = self
            .broker
            .image()
            .shards
            .get(&shard)
            .map(|assignment| assignment.epoch);
        check_assignment(assigned, epoch).map_err(|_| ErrorCode::NotCoordinator)
    }
}

#[tonic::async_trait]
impl broker_server::Broker for Service {
    async fn open_shard(
        &self,
        request: Request<grpc::OpenShardRequest>,
    ) -> Result<Response<grpc::OpenShardResponse>, Status> {
        open_shard::handle(self, request.into_inner()).await.map(Response::new)
    }

    async fn read_shard(
        &self,
        request: Request<grpc::ReadShardRequest>,
    ) -> Result<Response<grpc::ReadShardResponse>, Status> {
        read_shard::handle(self, request.into_inner()).await.map(Response::new)
    }

    async fn append_shard(
        &self,
        request: Request<grpc::AppendShardRequest>,
    ) -> Result<Response<grpc::AppendShardResponse>, Status> {
        append_shard::handle(self, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn await_high_watermark(
        &self,
        request: Request<grpc::AwaitHighWatermarkRequest>,
    ) -> Result<Response<grpc::AwaitHighWatermarkResponse>, Status> {
        await_high_watermark::handle(self, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn confirm_shard(
        &self,
        request: Request<grpc::ConfirmShardRequest>,
    ) -> Result<Response<grpc::ConfirmShardResponse>, Status> {
        confirm_shard::handle(self, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn confirm_leaders(
        &self,
        request: Request<grpc::ConfirmLeadersRequest>,
    ) -> Result<Response<grpc::ConfirmLeadersResponse>, Status> {
        confirm_leaders::handle(self, request.get_ref()).map(Response::new)
    }

    async fn partition_ends(
        &self,
        request: Request<grpc::PartitionEndsRequest>,
    ) -> Result<Response<grpc::PartitionEndsResponse>, Status> {
        partition_ends::handle(self, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn partition_directories(
        &self,
        _: Request<grpc::PartitionDirectoriesRequest>,
    ) -> Result<Response<grpc::PartitionDirectoriesResponse>, Status> {
        partition_directories::handle(self).await.map(Response::new)
    }
}

/// The shard of a message; a message without one is a defect of the caller.
fn shard_of(shard: Option<grpc::ShardId>) -> Result<ShardId, Status> {
    let shard = shard.ok_or_else(|| Status::invalid_argument("the request names no shard"))?;
    ShardId::try_from(shard).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// When a coordinator that waits for so long is answered at the latest.
fn deadline(timeout_ms: i32) -> Instant {
    Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)).min(MAX_WAIT)
}

/// Waits until the group's only acknowledgement is decided.
///
/// # Errors
/// Why it will not come; 7 at the deadline.
async fn decided(acks: &AckGroup, deadline: Instant) -> Result<(), ErrorCode> {
    match acks.decided(deadline).await.first() {
        Some(Some(Ok(()))) => Ok(()),
        Some(Some(Err(error))) => Err(ack_error_code(*error, false)),
        Some(None) | None => Err(ErrorCode::RequestTimedOut),
    }
}

/// An error code as the messages carry it.
fn code(error: ErrorCode) -> i32 {
    i32::from(error.code())
}
