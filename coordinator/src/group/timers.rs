//! Deadlines as data.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A member or a pending member has to be heard of.
    Session(Arc<str>, Arc<str>),
    /// The join phase of a group ends.
    Join(Arc<str>),
    /// Members of a group have to sync.
    PendingSync(Arc<str>),
    /// Expired offsets and empty groups are looked for.
    OffsetExpiration,
}

/// Deadlines by what they are for. Moving one into the future, which every heartbeat does, costs a map access: the
/// queue learns of it when the old deadline comes up.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: HashMap<Timer, Entry>,
    queue: BTreeSet<(Duration, Timer)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: Duration,
    queued: Duration,
}

impl Timers {
    /// Sets the deadline, in monotonic time; an earlier setting of the same timer is forgotten.
    pub(super) fn schedule(&mut self, timer: Timer, deadline: Duration) {
        if let Some(entry) = self.entries.get_mut(&timer) {
            entry.deadline = deadline;
            if deadline >= entry.queued {
                return;
            }
            let stale = (entry.queued, timer.clone());
            entry.queued = deadline;
            self.queue.remove(&stale);
        } else {
            let entry = Entry {
                deadline,
                queued: deadline,
            };
            self.entries.insert(timer.clone(), entry);
        }
        self.queue.insert((deadline, timer));
    }

    /// Forgets a timer.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(entry) = self.entries.remove(timer) {
            self.queue.remove(&(entry.queued, timer.clone()));
        }
    }

    /// A timer whose deadline has come, which is then forgotten.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        loop {
            let (queued, _) = self.queue.first()?;
            if *queued > now {
                return None;
            }
            let (_, timer) = self.queue.pop_first()?;
            match self.entries.get_mut(&timer) {
                Some(entry) if entry.deadline > now => {
                    entry.queued = entry.deadline;
                    self.queue.insert((entry.deadline, timer));
                }
                _ => {
                    self.entries.remove(&timer);
                    return Some(timer);
                }
            }
        }
    }

    /// When to look again at the latest. May be earlier than the first deadline.
    pub(super) fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(queued, _)| *queued)
    }

    /// Moves every deadline into the future.
    pub(super) fn postpone(&mut self, by: Duration) {
        self.queue.clear();
        for (timer, entry) in &mut self.entries {
            entry.deadline += by;
            entry.queued = entry.deadline;
            self.queue.insert((entry.deadline, timer.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn session(member: &str) -> Timer {
        Timer::Session("g".into(), member.into())
    }

    #[test]
    fn a_postponed_timer_is_due_at_its_new_deadline_only() {
        let mut timers = Timers::default();
        timers.schedule(session("a"), at(5));
        timers.schedule(session("b"), at(6));
        timers.schedule(session("a"), at(10));
        assert_eq!(timers.pop_due(at(5)), None);
        assert_eq!(timers.pop_due(at(9)), Some(session("b")));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(10)), Some(session("a")));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn an_earlier_deadline_replaces_a_later_one_and_cancel_forgets() {
        let mut timers = Timers::default();
        timers.schedule(session("a"), at(10));
        timers.schedule(session("a"), at(3));
        assert_eq!(timers.pop_due(at(3)), Some(session("a")));
        timers.schedule(session("a"), at(10));
        timers.cancel(&session("a"));
        assert_eq!(timers.pop_due(at(20)), None);
    }

    #[test]
    fn postponing_keeps_the_order() {
        let mut timers = Timers::default();
        timers.schedule(session("a"), at(1));
        timers.schedule(session("b"), at(2));
        timers.postpone(at(10));
        assert_eq!(timers.pop_due(at(10)), None);
        assert_eq!(timers.pop_due(at(12)), Some(session("a")));
        assert_eq!(timers.pop_due(at(12)), Some(session("b")));
    }
}
