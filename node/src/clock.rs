//! Time as an input: whoever needs it is given a [`Clock`], so that tests decide what time it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_proto::types::TimestampMs;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Tells the time. Cheap to clone; clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant },
    Manual(Arc<Mutex<ManualTime>>),
}

#[derive(Clone, Copy, Debug)]
struct ManualTime {
    wall: TimestampMs,
    monotonic: Duration,
}

/// Moves a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<ManualTime>>);

impl Clock {
    /// The machine's clocks. The monotonic one is tokio's, so it follows a paused runtime.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { start: Instant::now() })
    }

    /// A clock that stands still until it is moved, and its mover.
    #[must_use]
    pub fn manual(wall: TimestampMs) -> (Self, ManualClock) {
        let time = Arc::new(Mutex::new(ManualTime {
            wall,
            monotonic: Duration::ZERO,
        }));
        (Self(Source::Manual(Arc::clone(&time))), ManualClock(time))
    }

    /// Wall-clock time. It may jump, also backwards: for timestamps that leave the process, never for durations.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        match &self.0 {
            Source::System { .. } => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Manual(time) => time.lock().wall,
        }
    }

    /// Monotonic time since the clock was made: for durations and deadlines.
    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(time) => time.lock().monotonic,
        }
    }
}

impl ManualClock {
    /// Moves both the wall clock and the monotonic clock forward.
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock();
        time.monotonic += by;
        time.wall = TimestampMs(
            time.wall
                .get()
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        );
    }

    /// Sets the wall clock alone, as an administrator or NTP may.
    pub fn set_wall(&self, wall: TimestampMs) {
        self.0.lock().wall = wall;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let (clock, mover) = Clock::manual(TimestampMs(1_000));
        let reader = &clock;
        assert_eq!((reader.now_ms(), reader.now()), (TimestampMs(1_000), Duration::ZERO));
        mover.advance(Duration::from_millis(250));
        assert_eq!(
            (reader.now_ms(), reader.now()),
            (TimestampMs(1_250), Duration::from_millis(250))
        );
        mover.set_wall(TimestampMs(5));
        assert_eq!(
            (reader.now_ms(), reader.now()),
            (TimestampMs(5), Duration::from_millis(250))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_monotonic_clock_follows_the_runtime() {
        let clock = Clock::system();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now().as_secs(), 3);
        assert!(clock.now_ms().get() > 1_600_000_000_000);
    }
}
