//! The task of one shard: brings requests, answers of the leader, images and time to the pure shard, and carries out what
//! it asks for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use highwater_node::telemetry::Trace;
use highwater_proto::metadata::{MetadataImage, Topic};
use highwater_proto::types::{NodeId, ShardId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::broker_call::{self, Answer, Leader};
use super::{GroupOffset, Message, Runtime, ShardOffsets};
use crate::group::Token;
use crate::shard::{Action, Assignment, Outcome, Shard, ShardConfig, ShardState};

/// Messages that are taken before time and answers are looked at again.
const BURST: usize = 256;
/// Bytes of a batch besides its records.
const BATCH_OVERHEAD: usize = 61;
/// Offsets that one report on lag may name.
const MAX_REPORTED_OFFSETS: usize = 200_000;

type Call = BoxFuture<'static, Option<(u64, Answer)>>;

pub(super) struct ShardTask {
    runtime: Arc<Runtime>,
    id: ShardId,
    shard: Shard,
    image: Arc<MetadataImage>,
    calls: FuturesUnordered<Call>,
    replies: HashMap<Token, oneshot::Sender<Outcome>>,
    /// Requests that are followed, until an append is sent for them or they are answered.
    traces: Vec<(Token, Trace)>,
    released: Vec<oneshot::Sender<()>>,
    next_token: u64,
    state: watch::Sender<ShardState>,
}

impl ShardTask {
    pub(super) fn new(runtime: Arc<Runtime>, id: ShardId, state: watch::Sender<ShardState>) -> Self {
        let image = runtime.image();
        let config = shard_config(&runtime.config.shard, image.topic(id.kind.topic()));
        Self {
            shard: Shard::new(Arc::new(config)),
            runtime,
            id,
            image,
            calls: FuturesUnordered::new(),
            replies: HashMap::new(),
            traces: Vec::new(),
            released: Vec::new(),
            next_token: 0,
            state,
        }
    }

    /// Runs until it is stopped; whoever waits then is sent away.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Message>, stop: CancellationToken) {
        let mut images = self.runtime.images.clone();
        self.assign(images.borrow_and_update().clone());
        loop {
            self.carry_out();
            let deadline = self.shard.next_deadline();
            let wait = deadline.map(|deadline| deadline.saturating_sub(self.runtime.clock.now()));
            // Whatever has come in is heard before anybody is given up for silent.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = images.changed() => match changed {
                    Ok(()) => {
                        let image = images.borrow_and_update().clone();
                        self.assign(image);
                    }
                    Err(_) => break,
                },
                Some(answer) = self.calls.next() => {
                    if let Some((attempt, answer)) = answer {
                        answer.deliver(attempt, &mut self.shard, self.runtime.now());
                    }
                }
                message = inbox.recv() => match message {
                    Some(message) => self.take(message, &mut inbox),
                    None => break,
                },
                () = sleep(wait) => self.shard.tick(self.runtime.now()),
            }
        }
        self.shard.assign(None, self.runtime.now());
        self.carry_out();
    }

    fn take(&mut self, message: Message, inbox: &mut mpsc::Receiver<Message>) {
        self.message(message);
        for _ in 0..BURST {
            match inbox.try_recv() {
                Ok(message) => self.message(message),
                Err(_) => break,
            }
        }
        let now = self.runtime.now();
        if self
            .shard
            .next_deadline()
            .is_some_and(|deadline| deadline <= now.monotonic)
        {
            self.shard.tick(now);
        }
    }

    fn message(&mut self, message: Message) {
        let now = self.runtime.now();
        match message {
            Message::Request(request, trace, reply) => {
                self.next_token += 1;
                let token = Token(self.next_token);
                self.replies.insert(token, reply);
                if let Some(trace) = trace {
                    // What is to be called for others is not part of it.
                    self.carry_out();
                    self.traces.push((token, trace));
                }
                self.shard.handle(token, *request, &self.image, now);
            }
            Message::Offsets(reply) => {
                // Nobody waits any more if this fails.
                let _ = reply.send(self.offsets());
            }
            Message::Release(done) => {
                self.released.push(done);
                self.shard.release(now);
            }
        }
    }

    fn offsets(&self) -> ShardOffsets {
        if self.shard.state() != ShardState::Serving {
            return ShardOffsets {
                shard: self.id,
                groups: Vec::new(),
                offsets: Vec::new(),
                left_out: 0,
            };
        }
        let groups = self.shard.groups();
        let mut offsets = groups
            .committed()
            .map(|(group, topic, partition, committed)| GroupOffset {
                group: Arc::clone(group),
                topic: Arc::clone(topic),
                topic_id: committed.topic_id,
                partition,
                offset: committed.offset,
            });
        ShardOffsets {
            shard: self.id,
            groups: groups
                .sizes()
                .map(|(group, members)| (Arc::clone(group), members))
                .collect(),
            offsets: offsets.by_ref().take(MAX_REPORTED_OFFSETS).collect(),
            left_out: offsets.count(),
        }
    }

    /// Looks up in the image whose the shard is and who leads its partition.
    fn assign(&mut self, image: Arc<MetadataImage>) {
        self.image = image;
        let now = self.runtime.now();
        let mine = self
            .image
            .shards
            .get(&self.id)
            .filter(|it| it.owner == Some(self.runtime.config.node_id));
        let assignment = mine.map(|it| Assignment {
            coordinator_epoch: it.epoch,
            leader: self.partition().and_then(|it| it.leader.map(|_| it.leader_epoch)),
        });
        self.shard.assign(assignment, now);
        self.shard.image_changed(&self.image, now);
    }

    fn partition(&self) -> Option<&Arc<highwater_proto::metadata::Partition>> {
        let topic = self.image.topic(self.id.kind.topic())?;
        self.image.partition(topic.id, self.id.index)
    }

    fn leader(&self) -> Option<Leader> {
        let leader: NodeId = self.partition()?.leader?;
        Some(Leader {
            client: self.runtime.brokers.client(&self.image, leader)?,
            shard: self.id,
            revision: self.image.revision,
            commit_timeout: self.runtime.config.shard.commit_timeout,
        })
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.shard.next_action() {
            match action {
                Action::Reply(token, outcome) => {
                    self.traces.retain(|(traced, _)| *traced != token);
                    if let Some(reply) = self.replies.remove(&token) {
                        // The client may have gone away.
                        let _ = reply.send(outcome);
                    }
                }
                Action::Released => {
                    for done in self.released.drain(..) {
                        let _ = done.send(());
                    }
                }
                Action::Loaded(took) => {
                    let groups = self.shard.groups().sizes().count();
                    tracing::debug!(shard = ?self.id, groups, took_ms = took.as_millis(), "shard is loaded");
                    self.runtime.metrics.loaded(took);
                    self.runtime.loaded.notify_one();
                    // Topics may have been deleted while nobody owned the shard.
                    let now = self.runtime.now();
                    self.shard.image_changed(&self.image, now);
                }
                Action::LoadFailed(error) => {
                    tracing::error!(shard = ?self.id, error, "the log of a shard cannot be read; its groups are not served");
                }
                call => self.start(call),
            }
        }
        let state = self.shard.state();
        self.state
            .send_if_modified(|current| std::mem::replace(current, state) != state);
    }

    fn start(&mut self, action: Action) {
        let trace = self.trace_of(&action);
        match self.leader() {
            Some(leader) => {
                let call = broker_call::call(leader, action);
                self.calls.push(match trace {
                    Some(trace) => Box::pin(trace.scope(call)),
                    None => Box::pin(call),
                });
            }
            None => {
                let answer = Answer::unsent(&action);
                self.calls.push(Box::pin(std::future::ready(answer)));
            }
        }
    }

    /// The trace of a call that requests wait for: the first of those that are followed. A call serves many of them and
    /// is part of one trace; a parked request waits for others to come, and not for a call.
    fn trace_of(&mut self, action: &Action) -> Option<Trace> {
        if self.traces.is_empty() || !matches!(action, Action::Append { .. } | Action::Confirm { .. }) {
            return None;
        }
        let waiting: HashSet<Token> = self.shard.waiting().collect();
        let is_served = |(token, _): &(Token, Trace)| waiting.contains(token);
        let first = self.traces.iter().find(|traced| is_served(traced)).cloned();
        // A confirmation may come before the append that carries the records.
        if matches!(action, Action::Append { .. }) {
            self.traces.retain(|traced| !is_served(traced));
        }
        first.map(|(_, trace)| trace)
    }
}

/// Never completes without a deadline.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Records of one request have to fit into a batch that the topic takes.
fn shard_config(config: &ShardConfig, topic: Option<&Arc<Topic>>) -> ShardConfig {
    let mut config = config.clone();
    let limit = topic.and_then(|topic| topic.configs.get("max.message.bytes")?.parse::<usize>().ok());
    if let Some(limit) = limit {
        config.group.max_append_bytes = config.group.max_append_bytes.min(limit.saturating_sub(BATCH_OVERHEAD));
    }
    config
}
