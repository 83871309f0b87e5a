//! How idle the workers are. The same threads read requests, carry them out and write the answers, so that what Kafka
//! tells of its network threads and of its request handlers is one figure here.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::Instant;

/// Shorter intervals say little: what was found last is told again.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// The workers between two looks.
#[derive(Debug)]
pub(super) struct Workers {
    runtime: RuntimeMetrics,
    last: Mutex<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// Of all workers, since the runtime began.
    busy: Duration,
    idle: f64,
}

impl Workers {
    /// The workers of the runtime that this is called in; `None` outside of one.
    pub(super) fn of_runtime() -> Option<Self> {
        let runtime = Handle::try_current().ok()?.metrics();
        let last = Look {
            at: Instant::now(),
            busy: busy(&runtime),
            idle: 1.0,
        };
        Some(Self {
            runtime,
            last: Mutex::new(last),
        })
    }

    /// The share of their time, from 0 to 1, in which they had nothing to do since the last look.
    pub(super) fn idle(&self) -> f64 {
        let mut last = self.last.lock();
        let (now, elapsed) = (Instant::now(), last.at.elapsed());
        if elapsed >= LEAST_INTERVAL {
            let busy = busy(&self.runtime);
            let had = elapsed.as_secs_f64() * self.runtime.num_workers() as f64;
            let spent = busy.saturating_sub(last.busy).as_secs_f64();
            *last = Look {
                at: now,
                busy,
                idle: (1.0 - spent / had).clamp(0.0, 1.0),
            };
        }
        last.idle
    }
}

fn busy(runtime: &RuntimeMetrics) -> Duration {
    (0..runtime.num_workers())
        .map(|worker| runtime.worker_total_busy_duration(worker))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_is_the_share_of_the_time_without_work() {
        let workers = Workers::of_runtime().unwrap();
        tokio::time::sleep(LEAST_INTERVAL).await;
        let idle = workers.idle();
        assert!(idle > 0.8, "{idle}");
        // The only worker works all the time.
        let until = Instant::now() + LEAST_INTERVAL;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let idle = workers.idle();
        assert!(idle < 0.2, "{idle}");
    }
}
