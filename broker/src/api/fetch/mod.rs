//! Fetch (1). Records are never read here: the answer names ranges of log files, and the connection sends them. A fetch
//! that finds too little waits until a high watermark moves; nobody polls.

mod follower;
mod request;
mod response;

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::fetch::request::ReplicaState;
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};
use highwater_proto::metadata::{MetadataImage, Topic};
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};
use tokio::time::Instant;

use super::{RawApi, RawRequest, RequestContext, leader};
use crate::fetch_session::{FetchContext, FetchPartition, SentState};
use crate::partition::{FetchWaiter, Isolation, ReadOutcome, ReadRequest, WaiterGuard, Waiting};
use crate::replica::FollowerFetch;
use crate::reply::{Answer, Pending};

use self::follower::{FollowerCall, FollowerParts};
use self::request::{resolve, resolve_partition, session_request};
use self::response::{PartitionAnswer, encode};

/// Handler of Fetch.
pub(super) struct Fetch;

/// From this version on topics are named by id.
const TOPIC_IDS_FROM: i16 = 13;
/// From this version on clients know that they may read from followers.
const FOLLOWERS_SERVE_FROM: i16 = 11;
/// `high_watermark` of followers that do not ask to be told of a higher one.
const NO_HIGH_WATERMARK: i64 = i64::MAX;
/// From this version on followers say who they are in a field of their own.
const REPLICA_STATE_FROM: i16 = 15;
/// From this version on answers name the leader to turn to.
const LEADER_HINT_FROM: i16 = 16;
/// From this version on there are sessions, and errors of the whole request.
const SESSIONS_FROM: i16 = 7;
/// `isolation_level` of consumers that skip what is not committed.
const READ_COMMITTED: i8 = 1;

impl RawApi for Fetch {
    const KEY: ApiKey = ApiKey::Fetch;
    const VERSIONS: RangeInclusive<i16> = 4..=18;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        let RawRequest {
            context,
            version,
            correlation_id,
            mut body,
        } = request;
        let request = FetchRequest::decode(&mut body, version).ok()?;
        if let Some((node, broker_epoch)) = follower_in_session(&context, version, &request) {
            let parts = FollowerParts {
                version,
                correlation_id,
                node,
                broker_epoch,
                deadline: deadline(request.max_wait_ms),
                min_bytes: u64::try_from(request.min_bytes).unwrap_or(0),
                max_bytes: max_bytes(&context, request.max_bytes),
                context,
            };
            let session = session_request(request, version, true);
            return Some(match FollowerCall::begin(parts, session) {
                Ok(call) => call.run(),
                Err(answer) => Pending::Done(answer),
            });
        }
        Some(match Call::begin(context, version, correlation_id, request) {
            Ok(call) => call.run(),
            Err(answer) => Pending::Done(answer),
        })
    }
}

/// One request.
struct Call {
    context: RequestContext,
    version: i16,
    correlation_id: i32,
    session: FetchContext,
    deadline: Option<Instant>,
    min_bytes: u64,
    max_bytes: u64,
    isolation: Isolation,
    follower: Option<(NodeId, BrokerEpoch)>,
    /// The consumer's rack, if it may read from replicas there and this broker is in another one.
    other_rack: Option<ByteStr>,
}

/// What was read for all partitions, in order.
struct Pass {
    reads: Vec<Result<ReadOutcome, ErrorCode>>,
    bytes: u64,
    /// There is no reason to wait, whatever the bytes.
    final_as_it_is: bool,
}

/// What the first look at the partitions led to.
enum FirstPass {
    /// It can be answered.
    Complete(Pass),
    /// It has to wait for so many bytes.
    Waits {
        waiter: WaiterGuard,
        missing: u64,
        deadline: Instant,
    },
}

/// A waiter that is made when the first partition needs it.
#[derive(Default)]
struct LazyWaiter(OnceCell<WaiterGuard>);

impl LazyWaiter {
    fn get(&self) -> &Arc<FetchWaiter> {
        self.0.get_or_init(WaiterGuard::new).waiter()
    }

    fn into_guard(self) -> WaiterGuard {
        self.0.into_inner().unwrap_or_default()
    }
}

impl Call {
    fn begin(
        context: RequestContext,
        version: i16,
        correlation_id: i32,
        request: FetchRequest,
    ) -> Result<Self, Answer> {
        let follower = follower(&request, version);
        let broker = Arc::clone(&context.broker);
        let looks_for_rack =
            broker.config().replication.rack_aware && follower.is_none() && !request.rack_id.is_empty();
        let other_rack = (looks_for_rack && version >= FOLLOWERS_SERVE_FROM)
            .then(|| request.rack_id.detached())
            .filter(|rack| rack_of(&broker.image(), broker.node_id()) != Some(&**rack));
        let max_bytes = max_bytes(&context, request.max_bytes);
        let (max_wait_ms, min_bytes) = (request.max_wait_ms, request.min_bytes);
        let isolation = match (follower, request.isolation_level) {
            (Some(_), _) => Isolation::LogEnd,
            (None, READ_COMMITTED) => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        };
        let session = broker.fetch_sessions().begin(
            session_request(request, version, follower.is_some()),
            broker.clock().now(),
        );
        let session = session.map_err(|error| {
            broker.metrics().error(ApiKey::Fetch, error);
            encode(version, correlation_id, error, 0, &[], &[])
        })?;
        Ok(Self {
            context,
            version,
            correlation_id,
            session,
            deadline: deadline(max_wait_ms),
            min_bytes: u64::try_from(min_bytes).unwrap_or(0).min(max_bytes),
            max_bytes,
            isolation,
            follower,
            other_rack,
        })
    }

    fn run(self) -> Pending {
        if self.context.client.reads_cold_data.load(Ordering::Relaxed) {
            return Pending::Later(Box::pin(self.run_on_blocking_thread()));
        }
        match self.first_pass() {
            FirstPass::Complete(pass) => Pending::Done(self.answer(pass)),
            FirstPass::Waits {
                waiter,
                missing,
                deadline,
            } => Pending::Later(Box::pin(self.wait(waiter, missing, deadline))),
        }
    }

    /// For a reader whose last records came from the disk: to find where the next ones are may wait for it too.
    async fn run_on_blocking_thread(self) -> Answer {
        let permits = Arc::clone(&self.context.broker.limits().cold_reads);
        let permit = permits.acquire_owned().await;
        let looked = tokio::task::spawn_blocking(move || {
            let pass = self.first_pass();
            (self, pass)
        });
        let looked = looked.await;
        drop(permit);
        match looked {
            Ok((call, FirstPass::Complete(pass))) => call.answer(pass),
            Ok((
                call,
                FirstPass::Waits {
                    waiter,
                    missing,
                    deadline,
                },
            )) => call.wait(waiter, missing, deadline).await,
            Err(error) => {
                tracing::error!(%error, "a fetch ended without an answer");
                Answer::Close
            }
        }
    }

    fn first_pass(&self) -> FirstPass {
        let Some(deadline) = self.deadline else {
            return FirstPass::Complete(self.read(None));
        };
        let waiter = LazyWaiter::default();
        let pass = self.read(Some(&waiter));
        if self.is_complete(&pass) {
            return FirstPass::Complete(pass);
        }
        FirstPass::Waits {
            waiter: waiter.into_guard(),
            missing: self.missing(&pass),
            deadline,
        }
    }

    async fn wait(self, first: WaiterGuard, missing: u64, deadline: Instant) -> Answer {
        let (mut guard, mut missing) = (first, missing);
        loop {
            let waiter = guard.waiter();
            let waits = waiter.wait_for(i64::try_from(missing).unwrap_or(i64::MAX));
            let shutdown = self.context.broker.shutdown().triggered();
            let over = waits
                && tokio::select! {
                    () = waiter.woken() => false,
                    () = tokio::time::sleep_until(deadline) => true,
                    () = shutdown => true,
                };
            if over {
                drop(guard);
                return self.answer(self.read(None));
            }
            let next = LazyWaiter::default();
            let pass = self.read(Some(&next));
            if self.is_complete(&pass) {
                return self.answer(pass);
            }
            missing = self.missing(&pass);
            guard = next.into_guard();
        }
    }

    fn missing(&self, pass: &Pass) -> u64 {
        self.min_bytes.saturating_sub(pass.bytes).max(1)
    }

    fn is_complete(&self, pass: &Pass) -> bool {
        pass.final_as_it_is || pass.bytes >= self.min_bytes
    }

    /// Looks at all partitions. With a waiter, it is registered wherever more may come.
    fn read(&self, waiter: Option<&LazyWaiter>) -> Pass {
        let image = self.context.broker.image();
        let mut pass = Pass {
            reads: Vec::with_capacity(self.session.partitions.len()),
            bytes: 0,
            final_as_it_is: false,
        };
        let mut valid = 0_usize;
        for wanted in &self.session.partitions {
            let topic = match resolve_partition(&image, wanted) {
                Ok(topic) => topic,
                // Refused before it was read: the others go on waiting (rule 41).
                Err(error) => {
                    pass.reads.push(Err(error));
                    continue;
                }
            };
            valid += 1;
            let read = self.read_one(&image, topic, wanted, pass.bytes, waiter);
            match &read {
                Ok(outcome) => {
                    pass.bytes += outcome.bytes();
                    pass.final_as_it_is |= outcome.complete;
                }
                Err(_) => pass.final_as_it_is = true,
            }
            pass.reads.push(read);
        }
        pass.final_as_it_is |= valid == 0;
        pass
    }

    fn read_one(
        &self,
        image: &MetadataImage,
        topic: &Topic,
        wanted: &FetchPartition,
        bytes_before: u64,
        waiter: Option<&LazyWaiter>,
    ) -> Result<ReadOutcome, ErrorCode> {
        let partition = self.context.broker.partitions().find(topic, wanted.index)?;
        if let Some(rack) = &self.other_rack {
            let in_rack = |node| rack_of(image, node) == Some(&**rack);
            if let Some(redirected) =
                partition.redirect(epoch(wanted.current_leader_epoch), Offset(wanted.fetch_offset), in_rack)
            {
                return Ok(redirected);
            }
        }
        let left = self.max_bytes.saturating_sub(bytes_before);
        let request = ReadRequest {
            current_leader_epoch: epoch(wanted.current_leader_epoch),
            offset: Offset(wanted.fetch_offset),
            last_fetched_epoch: epoch(wanted.last_fetched_epoch),
            max_bytes: u64::try_from(wanted.max_bytes).unwrap_or(0).min(left),
            at_least_one: bytes_before == 0,
            isolation: self.isolation,
            follower: self.follower.map(|(node, broker_epoch)| FollowerFetch {
                node,
                broker_epoch,
                offset: Offset(wanted.fetch_offset),
                log_start: Offset(wanted.log_start.max(0)),
                now: self.context.broker.clock().now(),
            }),
            known_high_watermark: (self.follower.is_some() && wanted.high_watermark != NO_HIGH_WATERMARK)
                .then_some(Offset(wanted.high_watermark)),
            leader_only: self.follower.is_some() || self.version < FOLLOWERS_SERVE_FROM,
        };
        let enough = self.min_bytes.saturating_sub(bytes_before);
        let waiting = waiter.map(|waiter| (enough, move || Arc::clone(waiter.get())));
        match &waiting {
            Some((enough, waiter)) => partition.read(
                &request,
                Some(&Waiting {
                    enough: *enough,
                    waiter,
                }),
            ),
            None => partition.read(&request, None),
        }
    }

    fn answer(&self, pass: Pass) -> Answer {
        let broker = &self.context.broker;
        let answers: Vec<PartitionAnswer> = self
            .session
            .partitions
            .iter()
            .zip(pass.reads)
            .map(|(wanted, read)| PartitionAnswer::new(wanted, read, self.isolation))
            .collect();
        let sent: Vec<SentState> = answers.iter().map(PartitionAnswer::sent).collect();
        let mut listed = Vec::new();
        let new_id = || rand::random::<i32>() & i32::MAX;
        let outcome = broker
            .fetch_sessions()
            .finish(&self.session, &sent, &mut listed, broker.clock().now(), new_id);
        let session_id = match outcome {
            Ok(id) => id,
            Err((error, id)) => {
                broker.metrics().error(ApiKey::Fetch, error);
                return encode(self.version, self.correlation_id, error, id, &[], &[]);
            }
        };
        let mut answers: Vec<PartitionAnswer> = answers
            .into_iter()
            .zip(listed)
            .filter_map(|(answer, listed)| listed.then_some(answer))
            .collect();
        let endpoints = add_leader_hints(&self.context, self.version, &mut answers);
        self.count(&answers);
        encode(
            self.version,
            self.correlation_id,
            ErrorCode::None,
            session_id,
            &answers,
            &endpoints,
        )
    }

    fn count(&self, answers: &[PartitionAnswer]) {
        let broker = &self.context.broker;
        let image = broker.image();
        for answer in answers {
            let (bytes, failed) = (
                answer.records.as_ref().map_or(0, |it| it.len),
                answer.error != ErrorCode::None,
            );
            broker.metrics().all_topics().fetched(bytes, failed);
            broker.metrics().error(ApiKey::Fetch, answer.error);
            if let Ok(topic) = resolve(&image, &answer.topic)
                && let Some(state) = broker.partitions().topic_state(topic.id)
            {
                state.metrics().fetched(bytes, failed);
            }
        }
    }
}

/// The follower that asks, if it is one.
fn follower(request: &FetchRequest, version: i16) -> Option<(NodeId, BrokerEpoch)> {
    let ReplicaState {
        replica_id,
        replica_epoch,
        ..
    } = request.replica_state;
    let replica_id = if version >= REPLICA_STATE_FROM {
        replica_id
    } else {
        request.replica_id
    };
    (replica_id >= 0).then_some((NodeId(replica_id), BrokerEpoch(replica_epoch)))
}

/// A follower that the image names and that fetches within a session. Any other is answered like everybody, and refused
/// by the partitions.
fn follower_in_session(
    context: &RequestContext,
    version: i16,
    request: &FetchRequest,
) -> Option<(NodeId, BrokerEpoch)> {
    let (node, epoch) = follower(request, version)?;
    let known = context.broker.image().node(node).is_some_and(|it| it.epoch == epoch);
    (known && version >= REPLICA_STATE_FROM && request.session_epoch >= 0).then_some((node, epoch))
}

fn deadline(max_wait_ms: i32) -> Option<Instant> {
    let millis = u64::try_from(max_wait_ms).ok().filter(|millis| *millis > 0)?;
    Some(Instant::now() + Duration::from_millis(millis))
}

fn max_bytes(context: &RequestContext, asked: i32) -> u64 {
    let limit = context.broker.limits().max_fetch_bytes;
    u64::try_from(asked).unwrap_or(0).min(limit)
}

/// Says whom to ask where this broker does not lead; the brokers that are named.
fn add_leader_hints(
    context: &RequestContext,
    version: i16,
    answers: &mut [PartitionAnswer],
) -> Vec<leader::LeaderHint> {
    let mut endpoints: Vec<leader::LeaderHint> = Vec::new();
    if version < LEADER_HINT_FROM {
        return endpoints;
    }
    let image = context.broker.image();
    let moved = |error| matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
    for answer in answers.iter_mut().filter(|answer| moved(answer.error)) {
        let Ok(topic) = resolve(&image, &answer.topic) else {
            continue;
        };
        let Some(hint) = leader::hint(&image, topic, answer.index, &context.client) else {
            continue;
        };
        answer.current_leader = Some((hint.id, hint.epoch));
        if !endpoints.iter().any(|known| known.id == hint.id) {
            endpoints.push(hint);
        }
    }
    endpoints
}

fn rack_of(image: &MetadataImage, node: NodeId) -> Option<&str> {
    image.live_broker(node)?.registration.rack.as_deref()
}

/// -1 on the wire: none is named.
fn epoch(epoch: i32) -> Option<LeaderEpoch> {
    (epoch >= 0).then_some(LeaderEpoch(epoch))
}
