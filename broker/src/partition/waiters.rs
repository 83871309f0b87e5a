//! Fetches that wait for data: one object per request, woken when enough has arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use smallvec::SmallVec;
use tokio::sync::Notify;

/// More than any fetch waits for, and so little that a waiter can be told so by every partition there is.
const MOST: u64 = 1 << 40;

/// A fetch that waits: any growth wakes it, until [`Self::wait_for`] says how much is missing. It is registered with its partitions while it looks at them, so that nothing that arrives in
/// between is missed.
#[derive(Debug, Default)]
pub struct FetchWaiter {
    /// Bytes that are still missing; below 1 it is woken.
    missing: AtomicI64,
    notify: Notify,
    done: AtomicBool,
}

impl FetchWaiter {
    /// Sets how many bytes are missing, what arrived since the registration counted. False: enough is there.
    pub fn wait_for(&self, missing: i64) -> bool {
        self.missing.fetch_add(missing, Ordering::AcqRel) + missing > 0
    }

    /// Waits until woken.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Wakes the request.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    fn grown(&self, bytes: i64) -> bool {
        self.missing.fetch_sub(bytes, Ordering::AcqRel) - bytes <= 0
    }
}

/// A request's hold on its waiter: partitions forget the waiter when this is dropped, also with a connection that breaks.
#[derive(Debug)]
pub struct WaiterGuard(Arc<FetchWaiter>);

impl WaiterGuard {
    /// A new waiter.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// The waiter.
    #[must_use]
    pub fn waiter(&self) -> &Arc<FetchWaiter> {
        &self.0
    }
}

impl Default for WaiterGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(super) struct FetchWaiters {
    waiting: Vec<Arc<FetchWaiter>>,
}

impl FetchWaiters {
    pub(super) fn register(&mut self, waiter: &Arc<FetchWaiter>) {
        // Requests that were answered for another partition are dropped whenever the list would have to grow: each
        // registration pays for at most a constant number of them.
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|waiter| !waiter.is_done());
        }
        self.waiting.push(Arc::clone(waiter));
    }

    /// The waiters that have enough now that `bytes` more are there.
    pub(super) fn grown(&mut self, bytes: u64) -> SmallVec<[Arc<FetchWaiter>; 4]> {
        let bytes = bytes.min(MOST) as i64;
        let mut woken = SmallVec::new();
        self.waiting.retain(|waiter| {
            if waiter.is_done() {
                return false;
            }
            let enough = waiter.grown(bytes);
            if enough {
                woken.push(Arc::clone(waiter));
            }
            !enough
        });
        woken
    }

    /// All waiters: the partition changed in a way that they have to look at.
    pub(super) fn take_all(&mut self) -> Vec<Arc<FetchWaiter>> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_is_woken_once_its_bytes_are_there() {
        let mut waiters = FetchWaiters::default();
        let guard = WaiterGuard::new();
        let waiter = guard.waiter();
        waiters.register(waiter);
        assert!(waiter.wait_for(100));
        assert!(waiters.grown(60).is_empty());
        assert_eq!(waiters.grown(60).len(), 1);
        assert!(waiters.grown(60).is_empty(), "woken once");
    }

    #[test]
    fn many_partitions_may_wake_a_waiter_at_once() {
        let guard = WaiterGuard::new();
        let mut partitions: Vec<FetchWaiters> = (0..3).map(|_| FetchWaiters::default()).collect();
        for waiters in &mut partitions {
            waiters.register(guard.waiter());
        }
        assert!(guard.waiter().wait_for(100));
        for waiters in &mut partitions {
            assert_eq!(waiters.grown(u64::MAX).len(), 1);
        }
    }

    #[test]
    fn what_arrives_between_registration_and_wait_counts() {
        let mut waiters = FetchWaiters::default();
        let guard = WaiterGuard::new();
        let waiter = guard.waiter();
        waiters.register(waiter);
        assert_eq!(waiters.grown(60).len(), 1);
        assert!(!waiter.wait_for(50));
    }

    #[test]
    fn answered_requests_do_not_pile_up_in_idle_partitions() {
        let mut waiters = FetchWaiters::default();
        for _ in 0..10_000 {
            waiters.register(WaiterGuard::new().waiter());
        }
        assert!(waiters.waiting.capacity() < 16);
    }
}
