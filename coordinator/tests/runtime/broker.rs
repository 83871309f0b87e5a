//! The leader of the one partition of `__consumer_offsets`, in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use highwater_proto::grpc::broker_server::Broker;
use highwater_proto::grpc::partition_ends_response::End;
use highwater_proto::grpc::*;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::Batches;
use highwater_proto::types::{LeaderEpoch, Offset};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

#[derive(Default)]
struct State {
    leader_epoch: i32,
    coordinator_epoch: i32,
    batches: Vec<(i64, Bytes)>,
    end: i64,
    appends: usize,
    delay: Duration,
    drop_next: bool,
}

/// The broker. Clones share it.
#[derive(Clone, Default)]
pub struct FakeBroker(Arc<Mutex<State>>);

impl FakeBroker {
    pub fn move_leader(&self) {
        self.0.lock().leader_epoch += 1;
    }

    pub fn leader_epoch(&self) -> i32 {
        self.0.lock().leader_epoch
    }

    pub fn apply_assignment(&self, epoch: i32) {
        self.0.lock().coordinator_epoch = epoch;
    }

    pub fn slow_down(&self, delay: Duration) {
        let mut state = self.0.lock();
        state.delay = delay;
        state.appends = 0;
    }

    pub fn drop_next_append_reply(&self) {
        self.0.lock().drop_next = true;
    }

    pub fn appends(&self) -> usize {
        self.0.lock().appends
    }

    fn check(state: &State, coordinator_epoch: i32, leader_epoch: i32) -> Result<(), ErrorCode> {
        if coordinator_epoch < state.coordinator_epoch {
            Err(ErrorCode::NotCoordinator)
        } else if leader_epoch != state.leader_epoch {
            Err(ErrorCode::NotLeaderOrFollower)
        } else {
            Ok(())
        }
    }

    fn append(&self, request: &AppendShardRequest) -> Result<(i64, i64), ErrorCode> {
        let mut state = self.0.lock();
        Self::check(&state, request.coordinator_epoch, request.leader_epoch)?;
        if request.expected_end != state.end {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        let base = state.end;
        for batch in Batches::new(request.batches.clone()) {
            let mut batch = batch.expect("whole batches");
            assert!(batch.verify_crc());
            batch.header.base_offset = Offset(state.end);
            batch.header.leader_epoch = LeaderEpoch(state.leader_epoch);
            state.end += i64::from(batch.header.record_count);
            let end = state.end;
            state.batches.push((end, batch.to_bytes()));
        }
        state.appends += 1;
        Ok((base, state.end))
    }
}

fn code(result: Result<(), ErrorCode>) -> i32 {
    result.err().map_or(0, |error| i32::from(error.code()))
}

#[tonic::async_trait]
impl Broker for FakeBroker {
    async fn open_shard(&self, request: Request<OpenShardRequest>) -> Result<Response<OpenShardResponse>, Status> {
        let request = request.into_inner();
        let state = self.0.lock();
        let error = code(Self::check(&state, request.coordinator_epoch, state.leader_epoch));
        Ok(Response::new(OpenShardResponse {
            error,
            leader_epoch: state.leader_epoch,
            log_start: 0,
            log_end: state.end,
            high_watermark: state.end,
        }))
    }

    async fn read_shard(&self, request: Request<ReadShardRequest>) -> Result<Response<ReadShardResponse>, Status> {
        let request = request.into_inner();
        let state = self.0.lock();
        let mut response = ReadShardResponse {
            error: code(Self::check(&state, i32::MAX, request.leader_epoch)),
            next_offset: request.offset,
            ..ReadShardResponse::default()
        };
        let mut batches = BytesMut::new();
        // Two batches at a time, so that replay takes several reads.
        for (end, bytes) in state.batches.iter().filter(|(end, _)| *end > request.offset).take(2) {
            batches.extend_from_slice(bytes);
            response.next_offset = *end;
        }
        response.batches = batches.freeze();
        Ok(Response::new(response))
    }

    async fn append_shard(
        &self,
        request: Request<AppendShardRequest>,
    ) -> Result<Response<AppendShardResponse>, Status> {
        let delay = self.0.lock().delay;
        tokio::time::sleep(delay).await;
        let appended = self.append(request.get_ref());
        if std::mem::take(&mut self.0.lock().drop_next) {
            return Err(Status::unavailable("the answer is lost"));
        }
        let (base_offset, end_offset) = appended.unwrap_or_default();
        Ok(Response::new(AppendShardResponse {
            error: code(appended.map(|_| ())),
            base_offset,
            end_offset,
            high_watermark: end_offset,
        }))
    }

    async fn await_high_watermark(
        &self,
        request: Request<AwaitHighWatermarkRequest>,
    ) -> Result<Response<AwaitHighWatermarkResponse>, Status> {
        let state = self.0.lock();
        Ok(Response::new(AwaitHighWatermarkResponse {
            error: code(Self::check(&state, i32::MAX, request.get_ref().leader_epoch)),
            high_watermark: state.end,
        }))
    }

    async fn confirm_shard(
        &self,
        request: Request<ConfirmShardRequest>,
    ) -> Result<Response<ConfirmShardResponse>, Status> {
        let request = request.into_inner();
        let state = self.0.lock();
        let error = code(Self::check(&state, request.coordinator_epoch, request.leader_epoch));
        Ok(Response::new(ConfirmShardResponse { error }))
    }

    async fn confirm_leaders(
        &self,
        _: Request<ConfirmLeadersRequest>,
    ) -> Result<Response<ConfirmLeadersResponse>, Status> {
        Err(Status::unimplemented("coordinators do not ask this"))
    }

    async fn partition_directories(
        &self,
        _: Request<PartitionDirectoriesRequest>,
    ) -> Result<Response<PartitionDirectoriesResponse>, Status> {
        Err(Status::unimplemented("coordinators do not ask this"))
    }

    async fn partition_ends(
        &self,
        request: Request<PartitionEndsRequest>,
    ) -> Result<Response<PartitionEndsResponse>, Status> {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64;
        let ends = request.get_ref().queries.iter().map(|query| End {
            error: 0,
            log_start: 0,
            high_watermark: 10,
            timestamp_ms: query.timestamp_at_offset.map(|_| now - 60_000),
        });
        Ok(Response::new(PartitionEndsResponse { ends: ends.collect() }))
    }
}
