//! Taking a shard over: open it at the partition's leader, wait until the high watermark has reached the log end that
//! the leader answered (what the old owner appended last may still commit), replay all of it, serve. A leader change,
//! and every doubt, starts again from the beginning.

use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, Offset};

use super::action::{Action, Assignment, Chunk, Failure, Opened};
use super::load;
use super::machine::Shard;
use crate::group::{Effects, Now};

/// Pause before the first retry of a take-over; doubles up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a log that could not be read is tried again.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not ours.
    #[default]
    Idle,
    /// Ours; waits for a leader or for the next try.
    Backoff,
    /// Asks the leader to let nobody else append.
    Opening,
    /// Waits for the high watermark.
    Barrier {
        leader_epoch: LeaderEpoch,
        log_start: Offset,
        log_end: Offset,
    },
    /// Replays.
    Reading {
        leader_epoch: LeaderEpoch,
        next: Offset,
        log_end: Offset,
    },
    /// Serves.
    Serving { leader_epoch: LeaderEpoch },
    /// The log cannot be read.
    Failed { leader_epoch: LeaderEpoch },
}

/// Progress of a take-over.
#[derive(Debug, Default)]
pub(super) struct TakeOver {
    pub(super) phase: Phase,
    /// Goes up whenever what is in flight must be forgotten.
    pub(super) attempt: u64,
    pub(super) retry_at: Option<Duration>,
    pause: Duration,
    started: Duration,
}

impl TakeOver {
    /// The leader epoch that was opened.
    fn leader_epoch(&self) -> Option<LeaderEpoch> {
        match self.phase {
            Phase::Idle | Phase::Backoff | Phase::Opening => None,
            Phase::Barrier { leader_epoch, .. }
            | Phase::Reading { leader_epoch, .. }
            | Phase::Serving { leader_epoch }
            | Phase::Failed { leader_epoch } => Some(leader_epoch),
        }
    }
}

impl Shard {
    /// The image says whose the shard is; `None` if it is not ours.
    pub fn assign(&mut self, assignment: Option<Assignment>, now: Now) {
        let before = std::mem::replace(&mut self.assignment, assignment);
        let Some(assignment) = assignment else {
            if before.is_some() {
                self.unload(ErrorCode::NotCoordinator);
                self.take_over.phase = Phase::Idle;
                self.take_over.retry_at = None;
                self.end_release();
            }
            return;
        };
        let reassigned = before.is_none_or(|before| before.coordinator_epoch != assignment.coordinator_epoch);
        if reassigned {
            self.end_release();
        }
        let leader_moved = match self.take_over.leader_epoch() {
            Some(opened) => assignment.leader.is_some_and(|leader| leader > opened),
            // What is being opened is a leader of before.
            None => before.and_then(|before| before.leader) != assignment.leader,
        };
        if reassigned || (leader_moved && !self.releasing) {
            self.unload(ErrorCode::NotCoordinator);
            self.begin(now);
        }
    }

    /// The first attempt of a take-over.
    pub(super) fn begin(&mut self, now: Now) {
        self.take_over.started = now.monotonic;
        self.take_over.pause = Duration::ZERO;
        self.open();
    }

    fn open(&mut self) {
        self.take_over.retry_at = None;
        let leader = self.assignment.filter(|assignment| assignment.leader.is_some());
        let Some(assignment) = leader else {
            self.take_over.phase = Phase::Backoff;
            return;
        };
        self.take_over.phase = Phase::Opening;
        self.actions.push_back(Action::Open {
            attempt: self.take_over.attempt,
            coordinator_epoch: assignment.coordinator_epoch,
        });
    }

    /// Forgets everything and takes the shard over again after a pause. Whoever waits for a reply is told `error`.
    pub(super) fn restart(&mut self, error: ErrorCode, now: Now) {
        self.unload(error);
        if self.is_serving() {
            self.take_over.started = now.monotonic;
            self.take_over.pause = Duration::ZERO;
        }
        self.take_over.phase = Phase::Backoff;
        self.take_over.pause = (self.take_over.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.take_over.retry_at = Some(now.monotonic + self.take_over.pause);
        if self.releasing {
            self.pump(now);
        }
    }

    pub(super) fn take_over_tick(&mut self, now: Now) {
        if self
            .take_over
            .retry_at
            .is_some_and(|retry_at| retry_at <= now.monotonic)
        {
            self.take_over.attempt += 1;
            self.open();
        }
    }

    /// The leader answered the opening, or did not.
    pub fn opened(&mut self, attempt: u64, result: Result<Opened, Failure>, now: Now) {
        if attempt != self.take_over.attempt || self.take_over.phase != Phase::Opening {
            return;
        }
        match result {
            Ok(opened) => {
                self.take_over.phase = Phase::Barrier {
                    leader_epoch: opened.leader_epoch,
                    log_start: opened.log_start,
                    log_end: opened.log_end,
                };
                self.await_high_watermark();
            }
            Err(failure) => self.restart(failure.for_client(), now),
        }
    }

    fn await_high_watermark(&mut self) {
        if let Phase::Barrier {
            leader_epoch, log_end, ..
        } = self.take_over.phase
        {
            self.actions.push_back(Action::AwaitHighWatermark {
                attempt: self.take_over.attempt,
                leader_epoch,
                offset: log_end,
            });
        }
    }

    /// The high watermark as the leader knows it, when it has reached the log end or a wait was over.
    pub fn high_watermark(&mut self, attempt: u64, result: Result<Offset, Failure>, now: Now) {
        let Phase::Barrier {
            leader_epoch,
            log_start,
            log_end,
        } = self.take_over.phase
        else {
            return;
        };
        if attempt != self.take_over.attempt {
            return;
        }
        match result {
            Ok(high_watermark) if high_watermark >= log_end => {
                self.take_over.phase = Phase::Reading {
                    leader_epoch,
                    next: log_start,
                    log_end,
                };
                self.read_on(now);
            }
            // It waits for replicas. Whoever leads next is asked anew.
            Ok(_) | Err(Failure::Refused(ErrorCode::RequestTimedOut)) => self.await_high_watermark(),
            Err(failure) => self.restart(failure.for_client(), now),
        }
    }

    fn read_on(&mut self, now: Now) {
        let Phase::Reading {
            leader_epoch,
            next,
            log_end,
        } = self.take_over.phase
        else {
            return;
        };
        if next < log_end {
            self.actions.push_back(Action::Read {
                attempt: self.take_over.attempt,
                leader_epoch,
                offset: next,
            });
            return;
        }
        if next > log_end {
            // An append of ours that was given up has landed after all. It may not be below the high watermark yet.
            return self.restart(ErrorCode::NotCoordinator, now);
        }
        self.take_over.phase = Phase::Serving { leader_epoch };
        self.take_over.pause = Duration::ZERO;
        self.writes.loaded(log_end);
        let mut effects = Effects::default();
        self.groups.loaded(log_end, now, &mut effects);
        self.absorb(effects);
        let took = now.monotonic.saturating_sub(self.take_over.started);
        self.actions.push_back(Action::Loaded(took));
        self.pump(now);
    }

    /// A part of the log.
    pub fn read(&mut self, attempt: u64, result: Result<Chunk, Failure>, now: Now) {
        let Phase::Reading {
            leader_epoch,
            next,
            log_end,
        } = self.take_over.phase
        else {
            return;
        };
        if attempt != self.take_over.attempt {
            return;
        }
        let chunk = match result {
            Ok(chunk) if chunk.next_offset > next => chunk,
            // No progress: the log is not what the leader said.
            Ok(_) => return self.restart(ErrorCode::NotCoordinator, now),
            Err(failure) => return self.restart(failure.for_client(), now),
        };
        match load::replay(&mut self.groups, &chunk.batches, next, log_end) {
            Ok(()) => {
                self.take_over.phase = Phase::Reading {
                    leader_epoch,
                    next: chunk.next_offset,
                    log_end,
                };
                self.read_on(now);
            }
            Err(error) => {
                self.unload(ErrorCode::NotCoordinator);
                self.take_over.phase = Phase::Failed { leader_epoch };
                self.take_over.retry_at = Some(now.monotonic + FAILED_PAUSE);
                self.actions.push_back(Action::LoadFailed(describe(&error)));
            }
        }
    }
}

/// An error and its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
