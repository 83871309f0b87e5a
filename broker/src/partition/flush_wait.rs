//! Waiting until the logs of several partitions are on disk: one wait for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The flushes that somebody waits for.
#[derive(Debug, Default)]
pub struct FlushGroup {
    open: AtomicUsize,
    done: Notify,
}

/// One of them, held by its partition. Dropped when the log is flushed, or when it never will be: whoever waits then looks
/// at the partition.
#[derive(Debug)]
pub(super) struct FlushToken(Arc<FlushGroup>);

impl FlushGroup {
    /// A group that waits for nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn token(self: &Arc<Self>) -> FlushToken {
        self.open.fetch_add(1, Ordering::Relaxed);
        FlushToken(Arc::clone(self))
    }

    /// Waits until all are over, or for `limit`.
    pub async fn wait(&self, limit: Duration) {
        let all = async {
            while self.open.load(Ordering::Acquire) > 0 {
                self.done.notified().await;
            }
        };
        // Which of the partitions are not flushed is for the caller to find out.
        let _ = tokio::time::timeout(limit, all).await;
    }
}

impl Drop for FlushToken {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.done.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_of_a_group_ends_the_wait() {
        let group = FlushGroup::new();
        group.wait(Duration::from_secs(60)).await;
        let (one, other) = (group.token(), group.token());
        drop(one);
        let start = tokio::time::Instant::now();
        group.wait(Duration::from_secs(1)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1), "one is still open");
        drop(other);
        group.wait(Duration::from_secs(60)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
