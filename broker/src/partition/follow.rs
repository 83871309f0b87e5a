//! A partition as a follower: what it asks its leader for, and what it does with the answer.

use std::sync::Arc;

use highwater_proto::record::{Batch, HeaderError};
use highwater_proto::types::{LeaderEpoch, NodeId, Offset, TimestampMs};

use super::flush_wait::FlushToken;
use super::{FlushGroup, Partition, State, is_fatal, lifecycle};
use crate::log::{EpochEnd, Log, LogError};
use crate::replica::Cut;

pub use crate::replica::{FetchPoint, Following};

/// Epoch of the last batch of an empty log: it skips the check for divergence.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);

/// What a leader sent for one partition.
#[derive(Clone, Debug)]
pub struct LeaderBatches<'a> {
    /// Where the follower had asked from, and under which leader epoch.
    pub asked: FetchPoint,
    /// Batches, their checksums verified.
    pub batches: &'a [Batch],
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's first offset.
    pub log_start: Offset,
}

/// Why a follower could not use what its leader sent.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The leader or the log changed meanwhile: the answer is about something else.
    #[error("the answer is outdated")]
    Outdated,
    /// A batch is not what the leader had appended.
    #[error("the checksum of the batch at offset {0} does not match")]
    Checksum(Offset),
    /// What should be batches is not.
    #[error(transparent)]
    Malformed(#[from] HeaderError),
    /// Batches do not continue the log, or the disk refused them.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A flush that somebody waits for.
#[derive(Debug)]
pub(super) struct FlushAwaited {
    end: Offset,
    _token: FlushToken,
}

impl Partition {
    /// The leader, if it is another broker and there is a log to copy to.
    #[must_use]
    pub fn follows(&self) -> Option<NodeId> {
        let state = self.state.lock();
        state.log().ok()?;
        let leader = state.replica.leader()?;
        (!state.replica.is_leader() && leader != state.replica.node()).then_some(leader)
    }

    /// What to ask the leader for.
    #[must_use]
    pub fn following(&self) -> Following {
        self.state.lock().following()
    }

    /// Has the log flushed if it is not yet, and `group` told when that is over. False if all is on disk already.
    pub fn await_flushed(self: &Arc<Self>, group: &Arc<FlushGroup>) -> bool {
        let mut state = self.state.lock();
        let Ok(log) = state.log() else { return false };
        let end = log.log_end();
        if log.flushed_end() >= end {
            return false;
        }
        state.flush_awaited = Some(FlushAwaited {
            end,
            _token: group.token(),
        });
        drop(state);
        self.submit_flush();
        true
    }

    /// True if to append so many bytes with records up to `newest` would create files: better not on a network worker.
    #[must_use]
    pub fn follower_append_creates_files(&self, bytes: u64, newest: TimestampMs, now: TimestampMs) -> bool {
        let state = self.state.lock();
        state
            .log()
            .is_ok_and(|log| log.append_creates_files(bytes, newest, now))
    }

    /// Appends what the leader sent and takes over its high watermark and log start. Nothing counts as flushed yet.
    ///
    /// # Errors
    /// [`FollowError`]. After an error of the disk a prefix may have been appended.
    pub fn append_as_follower(self: &Arc<Self>, sent: &LeaderBatches<'_>, now: TimestampMs) -> Result<(), FollowError> {
        let mut state = self.state.lock();
        state.check_asked(&sent.asked)?;
        let rolled = match sent.batches {
            [] => false,
            batches => match self.append_batches(&mut state, batches, now) {
                Ok(rolled) => rolled,
                Err(error) => {
                    if is_fatal(&error) {
                        self.storage_failed(state, &error);
                    }
                    return Err(error.into());
                }
            },
        };
        let mut effects = state.replica.leader_high_watermark(sent.high_watermark);
        let log = state.log_mut().map_err(|_| FollowError::Outdated)?;
        let moved = log.raise_log_start(sent.log_start.min(log.log_end()))?;
        let start = log.log_start();
        let unflushed = log.log_end().get() - log.durable_end().get();
        let caching = log.caches_writes();
        if moved {
            effects.append(state.replica.log_start_moved(start));
        }
        self.carry_out(state, effects);
        // Without write caching the fetcher has all partitions of an answer flushed together.
        if moved || caching && (rolled || unflushed >= self.topic.settings().cached_flush.messages) {
            self.submit_flush();
        }
        Ok(())
    }

    /// True if a segment was closed.
    fn append_batches(&self, state: &mut State, batches: &[Batch], now: TimestampMs) -> Result<bool, LogError> {
        let Ok(log) = state.log_mut() else { return Ok(false) };
        let start = log.log_start();
        let appended = log.append_as_follower(batches, now);
        let ends = lifecycle::ends(log);
        if ends.start < start {
            // An empty log that began inside of the leader's first batch begins with that batch now.
            state.replica.truncated(crate::replica::LogEnds {
                end: ends.start,
                flushed: ends.start.min(ends.flushed),
                ..ends
            });
        }
        // Also after an error: what is in the log is in the log.
        let effects = state.replica.appended(ends.end, ends.flushed);
        debug_assert!(effects.completed.is_empty(), "nobody waits on a follower");
        let appended = appended?;
        state.appended_bytes += batches.iter().map(|batch| batch.size() as u64).sum::<u64>();
        Ok(appended.rolled)
    }

    /// Cuts the log where it left the leader's: `leader` is where the largest epoch at or below ours ends there
    /// (rule 31). Slow: waits for the disk.
    ///
    /// # Errors
    /// [`FollowError`]
    pub fn truncate_as_follower(self: &Arc<Self>, asked: &FetchPoint, leader: EpochEnd) -> Result<(), FollowError> {
        self.cut(asked, |log| {
            let own = log.end_offset_for(leader.epoch);
            match Cut::at(own.map(|own| own.end), leader.end, log.log_end()) {
                Cut::To(offset) => log.truncate_to(offset).map(drop),
                Cut::All => log.restart_at(log.log_start(), TimestampMs(0)),
            }
        })
        .map(drop)
    }

    /// What was asked for is not in the leader's log, which holds `start` to `end` (rule 128): cuts what is beyond, or
    /// begins anew where the leader does. False if the log fits already. Slow: waits for the disk.
    ///
    /// # Errors
    /// [`FollowError`]
    pub fn fit_into_leaders_log(
        self: &Arc<Self>,
        asked: &FetchPoint,
        start: Offset,
        end: Offset,
        now: TimestampMs,
    ) -> Result<bool, FollowError> {
        self.cut(asked, |log| {
            if start > log.log_end() || end < log.log_start() {
                log.restart_at(start, now)
            } else {
                log.truncate_to(end).map(drop)
            }
        })
    }

    fn cut(
        self: &Arc<Self>,
        asked: &FetchPoint,
        cut: impl FnOnce(&mut Log) -> Result<(), LogError>,
    ) -> Result<bool, FollowError> {
        let mut state = self.state.lock();
        state.check_asked(asked)?;
        let high_watermark = state.replica.high_watermark();
        let log = state.log_mut().map_err(|_| FollowError::Outdated)?;
        let before = (log.log_start(), log.log_end());
        let cut = cut(log);
        let ends = lifecycle::ends(log);
        let after = (ends.start, ends.end);
        if before == after && cut.is_ok() {
            return Ok(false);
        }
        if let Err(error) = cut.as_ref()
            && before == after
            && error.is_out_of_files()
        {
            // Nothing was cut: the fetcher tries again.
            return cut.map(|()| false).map_err(FollowError::from);
        }
        state.replica.truncated(ends);
        let (topic, partition) = (self.topic.name(), self.index);
        if let Err(error) = cut {
            // Half a cut: the log has to be opened again.
            self.take_offline(state, &error);
            return Err(error.into());
        }
        let waiters = state.take_waiters();
        drop(state);
        waiters.iter().for_each(|waiter| waiter.wake());
        if after.1 < high_watermark {
            tracing::warn!(%topic, %partition, ?before, ?after, %high_watermark, "cut below the high watermark: the leader has less");
        } else {
            tracing::info!(%topic, %partition, ?before, ?after, "cut what the leader does not have");
        }
        self.submit_flush();
        Ok(true)
    }
}

impl State {
    fn following(&self) -> Following {
        match self.log() {
            Ok(log) if !self.ending => self.replica.following(log.last_epoch().unwrap_or(NO_EPOCH)),
            _ => Following::Not,
        }
    }

    /// Rule 129: an answer counts only if nothing changed since it was asked for.
    fn check_asked(&self, asked: &FetchPoint) -> Result<(), FollowError> {
        if !self.ending && self.log().is_ok() && self.replica.expects(asked) {
            Ok(())
        } else {
            Err(FollowError::Outdated)
        }
    }

    /// Whoever waits for a flush is told when it has come far enough, or when there is nothing to flush any more.
    pub(super) fn settle_flush_wait(&mut self) {
        let over = match (&self.flush_awaited, self.log()) {
            (Some(awaited), Ok(log)) => log.flushed_end() >= awaited.end.min(log.log_end()),
            (Some(_), Err(_)) => true,
            (None, _) => false,
        };
        if over {
            self.flush_awaited = None;
        }
    }
}
