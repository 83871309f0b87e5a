//! Fetch of a follower: looks only at the partitions that the request names and at those where something happened, and
//! waits for the next thing to happen anywhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_proto::kafka::{ApiKey, ErrorCode};
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{BrokerEpoch, NodeId, Offset, TopicPartition};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::response::{PartitionAnswer, encode};
use super::{NO_HIGH_WATERMARK, RequestContext, add_leader_hints, epoch};
use crate::fetch_session::{FetchPartition, FollowerRequest, SessionRequest};
use crate::partition::{Feed, Isolation, ReadOutcome, ReadRequest};
use crate::replica::FollowerFetch;
use crate::reply::{Answer, Pending};
use crate::throttle::Side;

/// A request of a follower in its session.
pub(super) struct FollowerCall {
    context: RequestContext,
    version: i16,
    correlation_id: i32,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    deadline: Option<Instant>,
    min_bytes: u64,
    max_bytes: u64,
    request: FollowerRequest,
}

/// What one look led to.
enum Look {
    Answer(Answer),
    /// There is nothing worth an answer.
    Nothing,
}

/// A partition that was looked at.
struct Looked {
    slot: u32,
    answer: PartitionAnswer,
}

/// The parts of a request that do not belong to its session.
pub(super) struct FollowerParts {
    pub(super) context: RequestContext,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) node: NodeId,
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) deadline: Option<Instant>,
    pub(super) min_bytes: u64,
    pub(super) max_bytes: u64,
}

impl FollowerCall {
    /// Finds or begins the session.
    pub(super) fn begin(parts: FollowerParts, session: SessionRequest) -> Result<Self, Answer> {
        let FollowerParts {
            context,
            version,
            correlation_id,
            node,
            broker_epoch,
            deadline,
            min_bytes,
            max_bytes,
        } = parts;
        let sessions = context.broker.fetch_sessions().followers();
        let begun = if session.session_epoch == 0 {
            sessions.begin(node, session.partitions, || rand::random::<i32>() & i32::MAX)
        } else {
            let SessionRequest {
                session_id,
                session_epoch,
                partitions,
                forgotten,
                ..
            } = session;
            sessions.go_on(node, session_id, session_epoch, partitions, forgotten)
        };
        let request = begun.map_err(|error| {
            context.broker.metrics().error(ApiKey::Fetch, error);
            encode(version, correlation_id, error, 0, &[], &[])
        })?;
        for key in &request.forgotten {
            if let Some(partition) = context.broker.partitions().get(key.topic_id, key.partition) {
                partition.detach(&request.session.feed);
            }
        }
        Ok(Self {
            context,
            version,
            correlation_id,
            node,
            broker_epoch,
            deadline,
            min_bytes,
            max_bytes,
            request,
        })
    }

    pub(super) fn run(mut self) -> Pending {
        if self.context.client.reads_cold_data.load(Ordering::Relaxed) {
            return Pending::Later(Box::pin(self.run_on_blocking_thread()));
        }
        let named = std::mem::take(&mut self.request.named);
        match self.look(&named, self.deadline.is_none()) {
            Look::Answer(answer) => Pending::Done(answer),
            Look::Nothing => Pending::Later(Box::pin(self.wait())),
        }
    }

    /// For a follower whose last records came from the disk: to find where the next ones are may wait for it too.
    async fn run_on_blocking_thread(mut self) -> Answer {
        let permits = Arc::clone(&self.context.broker.limits().cold_reads);
        let permit = permits.acquire_owned().await;
        let looked = tokio::task::spawn_blocking(move || {
            let named = std::mem::take(&mut self.request.named);
            let look = self.look(&named, self.deadline.is_none());
            (self, look)
        });
        let looked = looked.await;
        drop(permit);
        match looked {
            Ok((_, Look::Answer(answer))) => answer,
            Ok((call, Look::Nothing)) => call.wait().await,
            Err(error) => {
                tracing::error!(%error, "a follower's fetch ended without an answer");
                Answer::Close
            }
        }
    }

    async fn wait(self) -> Answer {
        let waiter = Arc::new(Notify::new());
        let deadline = self.deadline.unwrap_or_else(Instant::now);
        let shutdown = self.context.broker.shutdown().clone();
        loop {
            if !self.is_superseded() && self.request.session.feed.park(&waiter) {
                let over = tokio::select! {
                    () = waiter.notified() => false,
                    () = tokio::time::sleep_until(deadline) => true,
                    () = shutdown.triggered() => true,
                };
                if over && let Look::Answer(answer) = self.look(&[], true) {
                    return answer;
                }
                // Whoever appends now is answered for together: others of this thread that are ready go first.
                tokio::task::yield_now().await;
            }
            if let Look::Answer(answer) = self.look(&[], false) {
                return answer;
            }
        }
    }

    fn is_superseded(&self) -> bool {
        self.request.session.lock().next_epoch != self.request.epoch
    }

    /// Looks at what is named and at what happened. `last`: there is an answer, whatever there is to say.
    fn look(&self, named: &[u32], last: bool) -> Look {
        let session = &self.request.session;
        let broker = &self.context.broker;
        let image = broker.image();
        let mut state = session.lock();
        if state.next_epoch != self.request.epoch {
            return Look::Answer(self.encode(&mut []));
        }
        let mut slots = Vec::with_capacity(named.len() + 8);
        session.feed.drain(&mut slots);
        let happened = slots.len();
        slots.extend_from_slice(named);
        let look = state.next_look();
        for slot in named {
            if let Some(slot) = state.slot(*slot) {
                slot.named = look;
            }
        }
        let (mut looked, mut bytes, mut urgent) = (Vec::with_capacity(slots.len()), 0, false);
        for (at, number) in slots.into_iter().enumerate() {
            let Some(slot) = state.slot(number) else { continue };
            let not_yet = at < happened && (slot.named == look || slot.awaits_follower);
            if not_yet || slot.looked == look {
                // Its turn comes below, or the follower has to react first to what it was sent.
                continue;
            }
            slot.looked = look;
            let throttled = self.throttled(&image, &slot.key);
            if let Some(wait) = throttled.filter(|wait| !wait.is_zero()) {
                look_again(&session.feed, number, wait);
                continue;
            }
            let read = self.read(&image, slot.key, &slot.wanted, number, bytes);
            if let Ok(outcome) = &read {
                bytes += outcome.bytes();
                if throttled.is_some() {
                    broker.throttles().copied(Side::Leader, outcome.bytes());
                }
                if outcome.suspicious {
                    self.verify(slot.key, Offset(slot.wanted.fetch_offset));
                }
            }
            urgent |= read.as_ref().map_or(true, |outcome| outcome.complete);
            let answer = PartitionAnswer::new(&slot.wanted, read, Isolation::LogEnd);
            if self.request.is_full || slot.is_news(&answer.sent()) {
                looked.push(Looked { slot: number, answer });
            }
        }
        let enough = last || urgent || bytes >= self.min_bytes.max(1);
        if !enough {
            // What there is to say is said with the next answer.
            looked.iter().for_each(|it| session.feed.put_back_quietly(it.slot));
            return Look::Nothing;
        }
        let mut answers = Vec::with_capacity(looked.len());
        for Looked { slot, answer } in looked {
            if let Some(slot) = state.slot(slot) {
                slot.sent(&answer.sent());
            }
            answers.push(answer);
        }
        drop(state);
        Look::Answer(self.encode(&mut answers))
    }

    /// How long a replica that is throttled, and not in sync, has to wait.
    fn throttled(&self, image: &MetadataImage, key: &TopicPartition) -> Option<Duration> {
        let broker = &self.context.broker;
        let now = broker.clock().now();
        let throttles = broker.throttles();
        throttles.wait(Side::Leader, image, broker.static_values(), key, self.node, now)
    }

    /// Looks on a blocking thread at what a follower cannot use.
    fn verify(&self, key: TopicPartition, offset: Offset) {
        let partition = self.context.broker.partitions().get(key.topic_id, key.partition);
        if let Some(partition) = partition {
            tokio::task::spawn_blocking(move || partition.verify(offset));
        }
    }

    fn read(
        &self,
        image: &MetadataImage,
        key: TopicPartition,
        wanted: &FetchPartition,
        slot: u32,
        bytes_before: u64,
    ) -> Result<ReadOutcome, ErrorCode> {
        let topic = image.topic_by_id(key.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let broker = &self.context.broker;
        let partition = broker.partitions().find(topic, wanted.index)?;
        let left = self.max_bytes.saturating_sub(bytes_before);
        let wants_high_watermark = wanted.high_watermark != NO_HIGH_WATERMARK;
        let request = ReadRequest {
            current_leader_epoch: epoch(wanted.current_leader_epoch),
            offset: Offset(wanted.fetch_offset),
            last_fetched_epoch: epoch(wanted.last_fetched_epoch),
            max_bytes: u64::try_from(wanted.max_bytes).unwrap_or(0).min(left),
            at_least_one: bytes_before == 0,
            isolation: Isolation::LogEnd,
            follower: Some(FollowerFetch {
                node: self.node,
                broker_epoch: self.broker_epoch,
                offset: Offset(wanted.fetch_offset),
                log_start: Offset(wanted.log_start.max(0)),
                now: broker.clock().now(),
            }),
            known_high_watermark: wants_high_watermark.then_some(Offset(wanted.high_watermark)),
            leader_only: true,
        };
        partition.feed(&request, &self.request.session.feed, slot)
    }

    fn encode(&self, answers: &mut [PartitionAnswer]) -> Answer {
        let endpoints = add_leader_hints(&self.context, self.version, answers);
        let metrics = self.context.broker.metrics();
        let bytes = |answer: &PartitionAnswer| answer.records.as_ref().map_or(0, |it| it.len);
        metrics.replicated(answers.iter().map(bytes).sum());
        answers.iter().for_each(|it| metrics.error(ApiKey::Fetch, it.error));
        encode(
            self.version,
            self.correlation_id,
            ErrorCode::None,
            self.request.session.id(),
            answers,
            &endpoints,
        )
    }
}

/// The session looks at the slot once more, after a while.
fn look_again(feed: &Arc<Feed>, slot: u32, wait: Duration) {
    let feed = Arc::clone(feed);
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        feed.push(slot);
    });
}
