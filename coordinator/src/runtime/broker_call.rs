//! The actions of a shard that are calls of the partition leader's gRPC service, and what comes back from them.

use std::future::Future;
use std::time::Duration;

use highwater_node::transport::Channel;
use highwater_proto::grpc::broker_client::BrokerClient;
use highwater_proto::grpc::{
    self, AppendShardRequest, AwaitHighWatermarkRequest, ConfirmShardRequest, OpenShardRequest, ReadShardRequest,
};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, Offset, Revision, ShardId};
use tonic::{Response, Status};

use crate::group::Now;
use crate::shard::{Action, Chunk, Failure, Opened, Shard};

/// How long the leader may take to see the assignment.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one wait for the high watermark lasts at the leader; it is asked again.
const BARRIER_WAIT: Duration = Duration::from_secs(5);
/// How long one read may take: it may come from a slow disk.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// What the network may add to a wait at the leader.
const NETWORK_ALLOWANCE: Duration = Duration::from_secs(1);
/// Bytes of one read.
const READ_BYTES: i32 = 4 * 1024 * 1024;

/// What came of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Opened(Result<Opened, Failure>),
    HighWatermark(Result<Offset, Failure>),
    Read(Result<Chunk, Failure>),
    Appended(Result<Offset, Failure>),
    Confirmed(Result<(), Failure>),
}

impl Answer {
    /// Tells the shard.
    pub(super) fn deliver(self, attempt: u64, shard: &mut Shard, now: Now) {
        match self {
            Self::Opened(result) => shard.opened(attempt, result, now),
            Self::HighWatermark(result) => shard.high_watermark(attempt, result, now),
            Self::Read(result) => shard.read(attempt, result, now),
            Self::Appended(result) => shard.appended(attempt, result, now),
            Self::Confirmed(result) => shard.confirmed(attempt, result, now),
        }
    }

    /// The answer to an action that could not even be sent; `None` if it is no call.
    pub(super) fn unsent(action: &Action) -> Option<(u64, Self)> {
        let failure = Failure::Refused(ErrorCode::NotLeaderOrFollower);
        Some(match action {
            Action::Open { attempt, .. } => (*attempt, Self::Opened(Err(failure))),
            Action::AwaitHighWatermark { attempt, .. } => (*attempt, Self::HighWatermark(Err(failure))),
            Action::Read { attempt, .. } => (*attempt, Self::Read(Err(failure))),
            Action::Append { attempt, .. } => (*attempt, Self::Appended(Err(failure))),
            Action::Confirm { attempt, .. } => (
                *attempt,
                Self::Confirmed(Err(Failure::Unknown(ErrorCode::NotLeaderOrFollower))),
            ),
            Action::Reply(..) | Action::Released | Action::Loaded(_) | Action::LoadFailed(_) => return None,
        })
    }
}

/// Where a shard's calls go.
#[derive(Clone)]
pub(super) struct Leader {
    pub(super) client: BrokerClient<Channel>,
    pub(super) shard: ShardId,
    /// Revision of the image that the assignment was read from.
    pub(super) revision: Revision,
    pub(super) commit_timeout: Duration,
}

/// Carries an action out; `None` if it is no call.
pub(super) async fn call(leader: Leader, action: Action) -> Option<(u64, Answer)> {
    let (client, shard) = (leader.client, Some(grpc::ShardId::from(leader.shard)));
    Some(match action {
        Action::Open {
            attempt,
            coordinator_epoch,
        } => {
            let request = OpenShardRequest {
                shard,
                coordinator_epoch: coordinator_epoch.get(),
                image_revision: leader.revision.get(),
            };
            (attempt, Answer::Opened(open(client, request).await))
        }
        Action::AwaitHighWatermark {
            attempt,
            leader_epoch,
            offset,
        } => {
            let request = AwaitHighWatermarkRequest {
                shard,
                leader_epoch: leader_epoch.get(),
                offset: offset.get(),
                timeout_ms: BARRIER_WAIT.as_millis() as i32,
            };
            (
                attempt,
                Answer::HighWatermark(await_high_watermark(client, request).await),
            )
        }
        Action::Read {
            attempt,
            leader_epoch,
            offset,
        } => {
            let request = ReadShardRequest {
                shard,
                leader_epoch: leader_epoch.get(),
                offset: offset.get(),
                max_bytes: READ_BYTES,
            };
            (attempt, Answer::Read(read(client, request).await))
        }
        Action::Append {
            attempt,
            coordinator_epoch,
            leader_epoch,
            expected_end,
            batches,
        } => {
            let request = AppendShardRequest {
                shard,
                coordinator_epoch: coordinator_epoch.get(),
                leader_epoch: leader_epoch.get(),
                expected_end: expected_end.get(),
                batches,
                timeout_ms: i32::try_from(leader.commit_timeout.as_millis()).unwrap_or(i32::MAX),
            };
            (
                attempt,
                Answer::Appended(append(client, request, leader.commit_timeout).await),
            )
        }
        Action::Confirm {
            attempt,
            coordinator_epoch,
            leader_epoch,
        } => {
            let request = ConfirmShardRequest {
                shard,
                coordinator_epoch: coordinator_epoch.get(),
                leader_epoch: leader_epoch.get(),
            };
            (attempt, Answer::Confirmed(confirm(client, request).await))
        }
        Action::Reply(..) | Action::Released | Action::Loaded(_) | Action::LoadFailed(_) => return None,
    })
}

async fn open(mut client: BrokerClient<Channel>, request: OpenShardRequest) -> Result<Opened, Failure> {
    let response = within(OPEN_TIMEOUT, client.open_shard(request)).await?;
    refused(response.error)?;
    Ok(Opened {
        leader_epoch: LeaderEpoch(response.leader_epoch),
        log_start: Offset(response.log_start),
        log_end: Offset(response.log_end),
    })
}

async fn await_high_watermark(
    mut client: BrokerClient<Channel>,
    request: AwaitHighWatermarkRequest,
) -> Result<Offset, Failure> {
    let limit = BARRIER_WAIT + NETWORK_ALLOWANCE;
    let response = within(limit, client.await_high_watermark(request)).await?;
    refused(response.error)?;
    Ok(Offset(response.high_watermark))
}

async fn read(mut client: BrokerClient<Channel>, request: ReadShardRequest) -> Result<Chunk, Failure> {
    let response = within(READ_TIMEOUT, client.read_shard(request)).await?;
    refused(response.error)?;
    Ok(Chunk {
        batches: response.batches,
        next_offset: Offset(response.next_offset),
    })
}

async fn append(
    mut client: BrokerClient<Channel>,
    request: AppendShardRequest,
    timeout: Duration,
) -> Result<Offset, Failure> {
    let response = within(timeout + NETWORK_ALLOWANCE, client.append_shard(request)).await?;
    match error_of(response.error) {
        ErrorCode::None => Ok(Offset(response.end_offset)),
        // The leader checks these before it appends anything.
        error @ (ErrorCode::NotEnoughReplicas
        | ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::NotCoordinator
        | ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge) => Err(Failure::Refused(error)),
        error => Err(Failure::Unknown(error)),
    }
}

async fn confirm(mut client: BrokerClient<Channel>, request: ConfirmShardRequest) -> Result<(), Failure> {
    let response = within(CONFIRM_TIMEOUT, client.confirm_shard(request)).await?;
    match error_of(response.error) {
        ErrorCode::None => Ok(()),
        // It leads as far as it knows, but not enough followers say so (yet).
        error @ (ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut) => Err(Failure::Unknown(error)),
        error => Err(Failure::Refused(error)),
    }
}

/// The response, if it comes in time. What does not come may still have been done.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => {
            tracing::debug!(%status, "call of a broker failed");
            Err(Failure::Unknown(ErrorCode::NetworkException))
        }
        Err(_) => Err(Failure::Unknown(ErrorCode::RequestTimedOut)),
    }
}

fn refused(error: i32) -> Result<(), Failure> {
    match error_of(error) {
        ErrorCode::None => Ok(()),
        error => Err(Failure::Refused(error)),
    }
}

fn error_of(code: i32) -> ErrorCode {
    i16::try_from(code).map_or(ErrorCode::UnknownServerError, ErrorCode::from_code)
}
