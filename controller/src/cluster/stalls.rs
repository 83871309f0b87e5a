//! Whether a broker stalls, by what its heartbeats say. Time is a duration since some fixed moment, given by the caller.

use std::time::Duration;

/// A broker stalls no more once it has been well for so many times `disk.stall.ms`: what moves away comes back at a price.
const CALM: u32 = 5;

/// What is known of one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalls {
    limit: Duration,
    stalled: bool,
    well_since: Option<Duration>,
    /// The last heartbeat told of a worker that was kept from its work for too long.
    worker: bool,
}

impl Stalls {
    /// `limit` is `disk.stall.ms`; `stalled` is what an earlier controller, or session, knew.
    #[must_use]
    pub fn new(limit: Duration, stalled: bool) -> Self {
        Self {
            limit,
            stalled,
            well_since: None,
            worker: false,
        }
    }

    /// A heartbeat says how old the oldest unfinished flush is, and how long workers were kept from their work since the
    /// one before. True if the broker stalls. Workers that were kept once, as by a pause of the whole process, say
    /// nothing of what comes.
    pub fn heard(&mut self, flush: Duration, worker: Duration, now: Duration) -> bool {
        let again = std::mem::replace(&mut self.worker, worker >= self.limit) && self.worker;
        if flush >= self.limit || again {
            self.stalled = true;
            self.well_since = None;
        } else if self.stalled {
            let since = *self.well_since.get_or_insert(now);
            self.stalled = now.saturating_sub(since) < self.limit * CALM;
        }
        self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_over_when_it_has_been_over_for_long() {
        let ms = Duration::from_millis;
        let mut stalls = Stalls::new(ms(2_000), false);
        let mut heard = |flush, worker, now| stalls.heard(ms(flush), ms(worker), ms(now));
        assert!(!heard(1_999, 0, 1_000));
        assert!(heard(2_000, 0, 2_000));
        assert!(heard(0, 0, 3_000));
        assert!(heard(0, 0, 12_999), "ten seconds of calm");
        assert!(!heard(0, 2_500, 13_000), "the process was stopped for a moment");
        assert!(!heard(0, 0, 14_000));
        assert!(!heard(0, 2_000, 17_000));
        assert!(heard(0, 2_000, 20_000), "again");
        assert!(heard(0, 0, 21_000));
        assert!(heard(0, 0, 30_900));
        assert!(!heard(0, 0, 31_000));
        assert!(!heard(100, 0, 32_000));
    }
}
