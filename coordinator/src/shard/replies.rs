//! When a reply may leave.
//!
//! Two things have to be true. All records that were applied when the reply was computed are below the high watermark:
//! what a client has been told never disappears. And the leader has confirmed this owner by a check that was *started*
//! after the reply was computed: an owner that was replaced meanwhile, and does not know it, never answers from memory.
//! An append is such a check too. A check that was under way already proves nothing: it may have passed at the leader
//! before the next owner acknowledged something.

use std::collections::VecDeque;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::Offset;

use super::action::{Action, Failure};
use super::machine::Shard;
use super::take_over::Phase;
use crate::group::{Now, Reply, Token};

/// Pause before a confirmation that got no answer is asked for again.
const CONFIRM_PAUSE: Duration = Duration::from_millis(50);

/// Replies that are computed but may not leave yet.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// In the order they were computed, so both conditions only grow along the queue.
    waiting: VecDeque<Waiting>,
    /// Checks started so far.
    started: u64,
    /// The newest check that succeeded.
    passed: u64,
    /// The confirmation under way.
    confirming: Option<Confirming>,
}

#[derive(Debug)]
struct Waiting {
    token: Token,
    reply: Reply,
    /// The log has to be durable up to here.
    durable: Offset,
    /// A check with this number or a later one has to pass.
    check: u64,
}

#[derive(Clone, Copy, Debug)]
struct Confirming {
    check: u64,
    failing_since: Option<Duration>,
    retry_at: Option<Duration>,
}

impl Replies {
    pub(super) fn push(&mut self, token: Token, reply: Reply, durable: Offset) {
        self.waiting.push_back(Waiting {
            token,
            reply,
            durable,
            check: self.started + 1,
        });
    }

    /// Numbers a check that is about to start.
    pub(super) fn start_check(&mut self) -> u64 {
        self.started += 1;
        self.started
    }

    pub(super) fn check_passed(&mut self, check: u64) {
        self.passed = self.passed.max(check);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.waiting.iter().map(|waiting| waiting.token)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Token> {
        self.waiting.drain(..).map(|waiting| waiting.token)
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.confirming?.retry_at
    }

    /// True if somebody waits for a check that nobody has started.
    fn needs_check(&self) -> bool {
        self.waiting.back().is_some_and(|waiting| waiting.check > self.started)
    }
}

impl Shard {
    /// Asks the leader for a confirmation if somebody needs one; one at a time, so that it serves everybody who came
    /// before it was started.
    pub(super) fn start_confirm(&mut self, now: Now) {
        let Phase::Serving { leader_epoch } = self.take_over.phase else {
            return;
        };
        let Some(assignment) = self.assignment else { return };
        let needs_check = self.replies.needs_check();
        match &mut self.replies.confirming {
            Some(confirming) => match confirming.retry_at {
                Some(retry_at) if retry_at <= now.monotonic => confirming.retry_at = None,
                _ => return,
            },
            None if needs_check => {
                let check = self.replies.start_check();
                self.replies.confirming = Some(Confirming {
                    check,
                    failing_since: None,
                    retry_at: None,
                });
            }
            None => return,
        }
        self.actions.push_back(Action::Confirm {
            attempt: self.take_over.attempt,
            coordinator_epoch: assignment.coordinator_epoch,
            leader_epoch,
        });
    }

    /// The leader answered a confirmation, or did not.
    pub fn confirmed(&mut self, attempt: u64, result: Result<(), Failure>, now: Now) {
        if attempt != self.take_over.attempt || !self.is_serving() {
            return;
        }
        let Some(confirming) = &mut self.replies.confirming else {
            return;
        };
        match result {
            Ok(()) => {
                let check = confirming.check;
                self.replies.confirming = None;
                self.replies.check_passed(check);
            }
            Err(failure @ Failure::Refused(_)) => return self.restart(failure.for_client(), now),
            Err(Failure::Unknown(_)) => {
                // Asking changes nothing, so it can be asked again.
                let since = *confirming.failing_since.get_or_insert(now.monotonic);
                if now.monotonic.saturating_sub(since) >= self.config.commit_timeout {
                    return self.restart(ErrorCode::CoordinatorNotAvailable, now);
                }
                confirming.retry_at = Some(now.monotonic + CONFIRM_PAUSE);
            }
        }
        self.pump(now);
    }

    /// Lets go of the replies whose time has come, in order.
    pub(super) fn release_replies(&mut self) {
        let durable = self.writes.durable_end();
        let passed = self.replies.passed;
        while let Some(waiting) = self.replies.waiting.front() {
            if waiting.durable > durable || waiting.check > passed {
                return;
            }
            if let Some(waiting) = self.replies.waiting.pop_front() {
                self.outstanding.remove(&waiting.token);
                self.actions.push_back(Action::Reply(waiting.token, Ok(waiting.reply)));
            }
        }
    }
}
