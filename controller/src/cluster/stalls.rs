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
}

impl Stalls {
    /// `limit` is `disk.stall.ms`; `stalled` is what an earlier controller, or session, knew.
    #[must_use]
    pub fn new(limit: Duration, stalled: bool) -> Self {
        Self {
            limit,
            stalled,
            well_since: None,
        }
    }

    /// A heartbeat says how old the oldest unfinished flush is, and how long workers were kept from their work. True if
    /// the broker stalls.
    pub fn heard(&mut self, flush: Duration, worker: Duration, now: Duration) -> bool {
        if flush.max(worker) >= self.limit {
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
        assert!(
            heard(0, 2_500, 13_000),
            "a worker counts like a disk, and begins it anew"
        );
        assert!(heard(0, 0, 14_000));
        assert!(heard(0, 0, 23_900));
        assert!(!heard(0, 0, 24_000));
        assert!(!heard(100, 0, 25_000));
    }
}
