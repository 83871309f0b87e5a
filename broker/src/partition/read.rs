//! Reading from a partition: what Fetch needs of one.

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, NodeId, Offset};
use parking_lot::MutexGuard;

use super::{Ack, Feed, FetchWaiter, Partition, State, leadership_error_code, log_error_code};
use crate::log::{EpochEnd, FileSlice, Log, LogError};
use crate::replica::{Effects, FollowerFetch, LeadershipError, has_diverged};

/// Up to where a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Consumers: up to the high watermark.
    ReadUncommitted,
    /// Consumers of committed transactions: up to the last stable offset.
    ReadCommitted,
    /// Followers: up to the log end.
    LogEnd,
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// The leader epoch that the reader knows.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// First offset wanted.
    pub offset: Offset,
    /// Epoch of the last record that the reader has: finds out whether its log went another way.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Most bytes wanted.
    pub max_bytes: u64,
    /// The first batch is wanted even if it is larger.
    pub at_least_one: bool,
    /// Up to where it may see.
    pub isolation: Isolation,
    /// The follower that reads.
    pub follower: Option<FollowerFetch>,
    /// The high watermark that the follower knows, if it wants to be told of a higher one at once.
    pub known_high_watermark: Option<Offset>,
    /// Only the leader may answer: a client that is too old to know of other replicas asks, or a follower.
    pub leader_only: bool,
}

/// A reader that waits when it gets less than `enough` bytes.
pub struct Waiting<'a> {
    /// Bytes of this partition that let it go on at once.
    pub enough: u64,
    /// Gives the object to wake; called only if there is not enough.
    pub waiter: &'a dyn Fn() -> Arc<FetchWaiter>,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// Offset up to which consumers may read.
    pub high_watermark: Offset,
    /// Offset up to which all transactions are decided.
    pub last_stable: Offset,
    /// First offset of the log.
    pub log_start: Offset,
    /// Whole batches, if there are any.
    pub records: Option<FileSlice>,
    /// Where the reader's log left ours, if it did: then there are no records.
    pub diverging: Option<EpochEnd>,
    /// The replica to read from instead: then there are no records.
    pub preferred: Option<NodeId>,
    /// Waiting would bring nothing more: the next batches are in another segment.
    pub complete: bool,
    /// The follower was sent the same so often that it should be looked at ([`Partition::verify`]).
    pub suspicious: bool,
}

impl ReadOutcome {
    /// Bytes of the records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.records.as_ref().map_or(0, |records| records.len)
    }
}

impl Partition {
    /// Says where to read instead: from the best in-sync follower that `candidates` accepts, if this replica leads.
    pub fn redirect(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        offset: Offset,
        candidates: impl Fn(NodeId) -> bool,
    ) -> Option<ReadOutcome> {
        let state = self.state.lock();
        state.replica.check_leadership(current_leader_epoch).ok()?;
        let preferred = state.replica.preferred_read_replica(offset, candidates)?;
        let log = state.log().ok()?;
        Some(ReadOutcome {
            preferred: Some(preferred),
            complete: true,
            ..state.outcome(log)
        })
    }

    /// Reads as the leader, or as a follower up to the high watermark that it knows. A reader that has to wait is
    /// registered before the lock is released, so that it misses nothing.
    ///
    /// # Errors
    /// Kafka's codes: 6, 74, 75, 1, 56.
    pub fn read(&self, request: &ReadRequest, waiting: Option<&Waiting<'_>>) -> Result<ReadOutcome, ErrorCode> {
        let (mut state, outcome, effects) = self.read_locked(request)?;
        if let Some(waiting) = waiting
            && outcome.bytes() < waiting.enough.max(1)
            && !outcome.complete
        {
            let waiter = (waiting.waiter)();
            if request.known_high_watermark.is_some() {
                state.waiters.register(&waiter);
            }
            match request.isolation {
                Isolation::LogEnd => state.log_end_waiters.register(&waiter),
                Isolation::ReadUncommitted | Isolation::ReadCommitted => state.waiters.register(&waiter),
            }
        }
        if request.follower.is_some() {
            self.carry_out(state, effects);
        }
        Ok(outcome)
    }

    /// Reads as the leader for the session of a follower, which is told from then on of what happens here.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn feed(&self, request: &ReadRequest, feed: &Arc<Feed>, slot: u32) -> Result<ReadOutcome, ErrorCode> {
        let (mut state, mut outcome, effects) = self.read_locked(request)?;
        if let Some(fetch) = request.follower.filter(|_| outcome.records.is_some()) {
            outcome.suspicious = state.refetched.sent(fetch.node, request.offset);
        }
        state.feeds.looked(feed, slot, request.known_high_watermark.is_some());
        let left_out = outcome.records.is_none() && outcome.diverging.is_none() && !request.at_least_one;
        if left_out && request.offset < state.visible_end(request.isolation) {
            // This answer has no room for it.
            state.feeds.left_out(feed);
        }
        let deleted = state.low_watermark_waiters.take_all();
        self.carry_out_of(state, effects, Some(feed));
        deleted.iter().for_each(|waiter| waiter.wake());
        Ok(outcome)
    }

    /// The session of a follower does not look at this partition any more.
    pub fn detach(&self, feed: &Arc<Feed>) {
        self.state.lock().feeds.detach(feed);
    }

    /// What a reader gets, the lock under which it was read, and what the fetch of a follower led to.
    fn read_locked(
        &self,
        request: &ReadRequest,
    ) -> Result<(MutexGuard<'_, State>, ReadOutcome, Effects<Ack>), ErrorCode> {
        let mut state = self.state.lock();
        state.check_online()?;
        match state.replica.check_leadership(request.current_leader_epoch) {
            Err(LeadershipError::NotLeader) if !request.leader_only && state.replica.leader().is_some() => {}
            checked => checked.map_err(leadership_error_code)?,
        }
        let log = state.log()?;
        if let Some(epoch) = request.last_fetched_epoch
            && let Some(diverging) = state.divergence(epoch, request.offset)?
        {
            let outcome = ReadOutcome {
                diverging: Some(diverging),
                complete: true,
                ..state.outcome(log)
            };
            return Ok((state, outcome, Effects::default()));
        }
        if request.offset < log.log_start() || request.offset > log.log_end() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        // What the fetch acknowledges is carried out after the read: both see the log under one lock.
        let effects = match request.follower {
            Some(fetch) => {
                let effects = state.replica.follower_fetched(fetch).map_err(leadership_error_code)?;
                self.traced.fetched(fetch.node, fetch.offset);
                effects
            }
            None => Effects::default(),
        };
        match state.read(request) {
            Ok(outcome) => Ok((state, outcome, effects)),
            Err(LogError::OffsetOutOfRange { .. }) => {
                self.carry_out(state, effects);
                Err(ErrorCode::OffsetOutOfRange)
            }
            Err(error) => {
                self.carry_out(state, effects);
                self.read_failed(self.state.lock(), &error);
                Err(log_error_code(&error))
            }
        }
    }
}

impl State {
    fn outcome(&self, log: &Log) -> ReadOutcome {
        ReadOutcome {
            high_watermark: self.replica.high_watermark(),
            last_stable: self.replica.last_stable_offset(None),
            log_start: log.log_start(),
            records: None,
            diverging: None,
            preferred: None,
            complete: false,
            suspicious: false,
        }
    }

    /// Rule 33: where the log of a reader whose last record has `epoch` left ours, if it did before `offset`.
    fn divergence(&self, epoch: LeaderEpoch, offset: Offset) -> Result<Option<EpochEnd>, ErrorCode> {
        let end = self.epoch_end(epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
        if offset < self.log()?.log_start() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(has_diverged(epoch, offset, (end.epoch, end.end)).then_some(end))
    }

    /// The end of what such a reader may see.
    pub(super) fn visible_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.replica.high_watermark(),
            Isolation::ReadCommitted => self.replica.last_stable_offset(None),
            Isolation::LogEnd => self.replica.log().end,
        }
    }

    fn read(&self, request: &ReadRequest) -> Result<ReadOutcome, LogError> {
        let Ok(log) = self.log() else {
            return Err(LogError::OffsetOutOfRange {
                offset: request.offset,
                log_start: self.replica.log().start,
                log_end: self.replica.log().end,
            });
        };
        let visible = self.visible_end(request.isolation);
        let wants_bytes = request.max_bytes > 0 || request.at_least_one;
        let records = match wants_bytes {
            true => log.read(request.offset, request.max_bytes, visible, request.at_least_one)?,
            false => None,
        };
        let in_next_segment = request.offset < log.active_base() && visible > log.active_base();
        // What a follower should know without waiting for records.
        let lags = request
            .known_high_watermark
            .is_some_and(|known| known < self.replica.high_watermark())
            || request
                .follower
                .is_some_and(|follower| follower.log_start < log.log_start());
        Ok(ReadOutcome {
            records,
            complete: in_next_segment || lags,
            ..self.outcome(log)
        })
    }
}
