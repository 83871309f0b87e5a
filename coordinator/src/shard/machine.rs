//! The shard: its phase, and what reaches it from outside.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::Offset;

use super::action::{Action, Assignment};
use super::replies::Replies;
use super::take_over::{Phase, TakeOver};
use super::write_behind::WriteBehind;
use crate::group::{Effects, GroupConfig, Groups, Now, Reply, Request, Token};

/// Settings of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Settings of its groups.
    pub group: GroupConfig,
    /// `offsets.commit.timeout.ms`: how long a write may take.
    pub commit_timeout: Duration,
    /// Requests that may wait for their replies, parked ones included. Further ones are told to come back.
    pub max_outstanding: usize,
    /// Bytes of records that may wait for the append in flight.
    pub max_buffered_bytes: usize,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            group: GroupConfig::default(),
            commit_timeout: Duration::from_secs(5),
            max_outstanding: 100_000,
            max_buffered_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What a shard is doing, for health and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Not ours.
    Idle,
    /// Being taken over.
    Loading,
    /// Serves.
    Serving,
    /// Its log cannot be read.
    Failed,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    pub(super) config: Arc<ShardConfig>,
    pub(super) groups: Groups,
    pub(super) assignment: Option<Assignment>,
    pub(super) take_over: TakeOver,
    pub(super) writes: WriteBehind,
    pub(super) replies: Replies,
    /// Every request that has not been answered yet, parked ones included.
    pub(super) outstanding: HashSet<Token>,
    pub(super) releasing: bool,
    /// When it takes the shard over again if nobody else got it.
    pub(super) release_ends: Option<Duration>,
    pub(super) actions: VecDeque<Action>,
}

impl Shard {
    /// A shard that is not ours yet.
    #[must_use]
    pub fn new(config: Arc<ShardConfig>) -> Self {
        Self {
            groups: Groups::new(Arc::new(config.group.clone())),
            assignment: None,
            take_over: TakeOver::default(),
            writes: WriteBehind::default(),
            replies: Replies::default(),
            outstanding: HashSet::new(),
            releasing: false,
            release_ends: None,
            actions: VecDeque::new(),
            config,
        }
    }

    /// A request. Its reply is among the actions, now or later.
    pub fn handle(&mut self, token: Token, request: Request, image: &MetadataImage, now: Now) {
        if let Some(refused) = self.refuse(&request) {
            self.actions.push_back(Action::Reply(token, refused));
            return;
        }
        self.outstanding.insert(token);
        let mut effects = Effects::default();
        self.groups.handle(token, request, image, now, &mut effects);
        self.absorb(effects);
        self.pump(now);
    }

    /// What can be said without knowing the groups.
    fn refuse(&self, request: &Request) -> Option<Result<Reply, ErrorCode>> {
        match &self.take_over.phase {
            _ if self.releasing => return Some(Err(ErrorCode::NotCoordinator)),
            Phase::Idle | Phase::Failed { .. } => return Some(Err(ErrorCode::NotCoordinator)),
            Phase::Opening | Phase::Barrier { .. } | Phase::Reading { .. } | Phase::Backoff => {
                // A member that heartbeats must not think that its group has moved on (rule 75).
                let is_heartbeat = matches!(request, Request::Heartbeat(_));
                let alive = is_heartbeat.then_some(Reply::Heartbeat(ErrorCode::None));
                return Some(alive.ok_or(ErrorCode::CoordinatorLoadInProgress));
            }
            Phase::Serving { .. } => {}
        }
        if request.longest_name() > MAX_NAME_BYTES {
            return Some(Err(ErrorCode::InvalidRequest));
        }
        let full = self.outstanding.len() >= self.config.max_outstanding
            || self.writes.buffered_bytes() >= self.config.max_buffered_bytes;
        full.then_some(Err(ErrorCode::CoordinatorLoadInProgress))
    }

    /// The image has changed: offsets of topics that are gone go too.
    pub fn image_changed(&mut self, image: &MetadataImage, now: Now) {
        if self.is_serving() {
            let mut effects = Effects::default();
            self.groups.topics_changed(image, now, &mut effects);
            self.absorb(effects);
            self.pump(now);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        self.take_over_tick(now);
        if self.release_ends.is_some_and(|ends| ends <= now.monotonic) {
            self.take_back(now);
        }
        if self.is_serving() {
            let mut effects = Effects::default();
            self.groups.tick(now, &mut effects);
            self.absorb(effects);
        }
        self.pump(now);
    }

    /// When [`Self::tick`] has something to do, in monotonic time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let groups = if self.is_serving() {
            self.groups.next_deadline()
        } else {
            None
        };
        [
            groups,
            self.take_over.retry_at,
            self.release_ends,
            self.writes.retry_at(),
            self.replies.retry_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What has to be done now, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Hands the shard over: takes no more requests, finishes what is in flight, answers who is parked. Ends with
    /// [`Action::Released`].
    pub fn release(&mut self, now: Now) {
        self.releasing = true;
        self.release_ends = Some(now.monotonic + RELEASE_LIMIT);
        if matches!(self.take_over.phase, Phase::Idle) {
            self.actions.push_back(Action::Released);
        }
        self.pump(now);
    }

    /// The shard was released and is still ours: whoever planned the move has gone.
    fn take_back(&mut self, now: Now) {
        self.end_release();
        if self.assignment.is_some() {
            self.unload(ErrorCode::NotCoordinator);
            self.begin(now);
        }
    }

    pub(super) fn end_release(&mut self) {
        self.releasing = false;
        self.release_ends = None;
    }

    /// What the shard is doing.
    #[must_use]
    pub fn state(&self) -> ShardState {
        match self.take_over.phase {
            Phase::Idle => ShardState::Idle,
            Phase::Serving { .. } => ShardState::Serving,
            Phase::Failed { .. } => ShardState::Failed,
            Phase::Opening | Phase::Barrier { .. } | Phase::Reading { .. } | Phase::Backoff => ShardState::Loading,
        }
    }

    /// Requests whose replies are computed and wait for the leader.
    pub fn waiting(&self) -> impl Iterator<Item = Token> {
        self.replies.tokens()
    }

    /// The groups, for figures that may be ahead of the log.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.take_over.phase, Phase::Serving { .. })
    }

    /// Takes in what the groups decided. The replies depend on all records so far, also those of others.
    pub(super) fn absorb(&mut self, effects: Effects) {
        for records in effects.records {
            self.writes.push(records);
        }
        let needed: Offset = self.groups.applied_end();
        for (token, reply) in effects.replies {
            self.replies.push(token, reply, needed);
        }
    }

    /// Starts what can be started and answers what can be answered.
    pub(super) fn pump(&mut self, now: Now) {
        self.start_append(now);
        self.start_confirm(now);
        self.release_replies();
        if self.releasing {
            self.finish_release();
        }
    }

    fn finish_release(&mut self) {
        let drained = !self.is_serving() || (self.writes.is_idle() && self.replies.is_empty());
        if drained && !matches!(self.take_over.phase, Phase::Idle) {
            self.unload(ErrorCode::NotCoordinator);
            self.take_over.phase = Phase::Idle;
            self.take_over.retry_at = None;
            self.actions.push_back(Action::Released);
        }
    }

    /// Forgets everything; whoever still waits for a reply is told `error`, parked requests that they are in the wrong
    /// place.
    pub(super) fn unload(&mut self, error: ErrorCode) {
        for token in self.replies.drain() {
            self.outstanding.remove(&token);
            self.actions.push_back(Action::Reply(token, Err(error)));
        }
        let mut parked: Vec<_> = self.outstanding.drain().collect();
        parked.sort_unstable();
        for token in parked {
            self.actions
                .push_back(Action::Reply(token, Err(ErrorCode::NotCoordinator)));
        }
        self.groups = Groups::new(Arc::new(self.config.group.clone()));
        self.writes.reset();
        self.replies.reset();
        self.take_over.attempt += 1;
    }
}

/// How long a released shard waits for its next owner. The controller writes it within two seconds.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// Names in records have 16-bit lengths; a member id is a client's name and 37 bytes more.
const MAX_NAME_BYTES: usize = i16::MAX as usize - 64;
