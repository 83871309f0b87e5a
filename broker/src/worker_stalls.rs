//! How long the network workers are kept from their work: by a blocking call where none should be, or by a machine that
//! gives this process no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_node::shutdown::Shutdown;
use tokio::time::Instant;

/// How often it is looked at: a stall is told by up to so much too short. Rarely, since an idle broker is to wake up rarely.
const INTERVAL: Duration = Duration::from_millis(250);

/// The longest stall since it was last asked for.
#[derive(Debug, Default)]
pub(crate) struct WorkerStalls {
    longest_ms: AtomicU64,
    /// When the task that looks was last seen, since its start; a stall that is under way shows too.
    seen_ms: AtomicU64,
    started: std::sync::OnceLock<Instant>,
}

impl WorkerStalls {
    /// Looks on a worker of the runtime until the process stops.
    pub(crate) fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        let started = *self.started.get_or_init(Instant::now);
        let (stalls, stop) = (Arc::clone(self), shutdown.clone());
        shutdown.spawn(async move {
            loop {
                let due = Instant::now() + INTERVAL;
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = stop.triggered() => return,
                }
                let now = Instant::now();
                stalls.note(now.saturating_duration_since(due));
                stalls.seen_ms.store(millis(now - started), Ordering::Relaxed);
            }
        });
    }

    fn note(&self, late: Duration) {
        self.longest_ms.fetch_max(millis(late), Ordering::Relaxed);
    }

    /// The longest stall since the last call, one that is under way included.
    pub(crate) fn take(&self) -> Duration {
        let over = Duration::from_millis(self.longest_ms.swap(0, Ordering::Relaxed));
        let under_way = self.started.get().map_or(Duration::ZERO, |started| {
            let seen = Duration::from_millis(self.seen_ms.load(Ordering::Relaxed));
            started.elapsed().saturating_sub(seen).saturating_sub(INTERVAL)
        });
        over.max(under_way)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_stall_is_told_once() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let stalls = Arc::new(WorkerStalls::default());
        stalls.watch(&shutdown);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stalls.take(), Duration::ZERO);
        // Nobody runs for a while.
        tokio::time::advance(Duration::from_millis(700)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(stalls.take() >= Duration::from_millis(700) - INTERVAL);
        assert_eq!(stalls.take(), Duration::ZERO, "told already");
        shutdown.trigger();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_shows_while_it_lasts() {
        let stalls = WorkerStalls::default();
        stalls.started.get_or_init(Instant::now);
        // The task that looks does not get a turn.
        for seconds in 1..4 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(stalls.take(), Duration::from_secs(seconds) - INTERVAL);
        }
    }
}
