//! How long something takes, counted cheaply: a histogram of atomics, and quantiles of the last minute or two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Buckets, doubling from 50 us to 26 s, and one for all that took longer.
pub const BUCKETS: usize = 21;
const FIRST_BUCKET_MICROS: u64 = 50;
/// Quantiles are taken over at least this, at most twice this.
const WINDOW: Duration = Duration::from_secs(60);

type Counts = [u64; BUCKETS];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [AtomicU64; BUCKETS],
    total_micros: AtomicU64,
    /// What had been counted when the window began, and when the next one begins.
    window: Mutex<Option<Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Counts,
    next: Counts,
    next_from: Instant,
}

impl Latency {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.total_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Upper bound in seconds and count of each bucket.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bound = |at: usize| {
            if at + 1 == BUCKETS {
                f64::INFINITY
            } else {
                bound_micros(at) as f64 / 1e6
            }
        };
        self.counts()
            .iter()
            .enumerate()
            .map(|(at, count)| (bound(at), *count))
            .collect()
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// Sum of all durations.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total_micros.load(Ordering::Relaxed))
    }

    /// Upper bounds, in milliseconds, of the durations that these shares of the last minute's took at most; zeros if
    /// there were none.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N], now: Instant) -> [f64; N] {
        let counts = self.counts();
        let mut window = self.window.lock();
        let current = window.get_or_insert(Window {
            since: [0; BUCKETS],
            next: counts,
            next_from: now,
        });
        if now.saturating_duration_since(current.next_from) >= WINDOW {
            *current = Window {
                since: current.next,
                next: counts,
                next_from: now,
            };
        }
        let recent: Counts = std::array::from_fn(|at| counts[at] - current.since[at]);
        shares.map(|share| quantile(&recent, share))
    }

    fn counts(&self) -> Counts {
        std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed))
    }
}

fn quantile(counts: &Counts, share: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    for (at, count) in counts.iter().enumerate() {
        seen += count;
        if *count > 0 && seen >= wanted {
            return bound_micros(at) as f64 / 1e3;
        }
    }
    0.0
}

fn bucket(micros: u64) -> usize {
    let doublings = micros.div_ceil(FIRST_BUCKET_MICROS).max(1).checked_next_power_of_two();
    doublings.map_or(BUCKETS - 1, |it| (it.trailing_zeros() as usize).min(BUCKETS - 1))
}

fn bound_micros(bucket: usize) -> u64 {
    FIRST_BUCKET_MICROS << bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        for (micros, expected) in [(0, 0), (50, 0), (51, 1), (100, 1), (101, 2), (u64::MAX, BUCKETS - 1)] {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_last_minutes() {
        let latency = Latency::default();
        let start = Instant::now();
        assert_eq!(latency.quantiles([0.5], start), [0.0]);
        (0..99).for_each(|_| latency.observe(Duration::from_micros(90)));
        latency.observe(Duration::from_millis(100));
        let [median, p99, p999] = latency.quantiles([0.5, 0.99, 0.999], start + Duration::from_secs(30));
        assert!((median - 0.1).abs() < 1e-9 && (p99 - 0.1).abs() < 1e-9);
        assert!((p999 - 102.4).abs() < 1e-9, "{p999}");
        let _ = latency.quantiles([0.5], start + Duration::from_secs(61));
        assert_eq!(
            latency.quantiles([0.5], start + Duration::from_secs(122)),
            [0.0],
            "long ago"
        );
        assert_eq!(latency.count(), 100);
    }
}
