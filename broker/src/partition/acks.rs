//! Produce requests that wait for the high watermark: one group per request, one slot per partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::replica::AckError;

type Slots = SmallVec<[Option<Result<(), AckError>>; 4]>;

/// The acknowledgements that one request waits for.
#[derive(Debug)]
pub struct AckGroup {
    waiting: AtomicUsize,
    slots: Mutex<Slots>,
    done: Notify,
    abandoned: AtomicBool,
}

/// One of them, held by the replica until it is decided.
#[derive(Debug)]
pub struct Ack {
    group: Arc<AckGroup>,
    slot: usize,
}

impl AckGroup {
    /// A group that waits for nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicUsize::new(0),
            slots: Mutex::new(Slots::new()),
            done: Notify::new(),
            abandoned: AtomicBool::new(false),
        })
    }

    /// One more acknowledgement to wait for.
    pub fn ack(self: &Arc<Self>) -> Ack {
        let mut slots = self.slots.lock();
        slots.push(None);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ack {
            group: Arc::clone(self),
            slot: slots.len() - 1,
        }
    }

    /// True once all are decided.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Waits until all are decided, or until the deadline: what is still open then is `None`.
    pub async fn decided(&self, deadline: Instant) -> SmallVec<[Option<Result<(), AckError>>; 4]> {
        let all = async {
            while !self.is_decided() {
                self.done.notified().await;
            }
        };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            self.abandoned.store(true, Ordering::Relaxed);
        }
        self.results()
    }

    /// What is decided now.
    #[must_use]
    pub fn results(&self) -> SmallVec<[Option<Result<(), AckError>>; 4]> {
        self.slots.lock().clone()
    }
}

/// A request's hold on its group: when it is dropped, also with a connection that breaks, nobody asks for the
/// acknowledgements any more.
#[derive(Debug)]
pub struct AckWait(pub Arc<AckGroup>);

impl Drop for AckWait {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }
}

impl Ack {
    /// Its position in [`AckGroup::results`].
    #[must_use]
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Decides it.
    pub fn complete(self, result: Result<(), AckError>) {
        if let Some(slot) = self.group.slots.lock().get_mut(self.slot) {
            *slot = Some(result);
        }
        if self.group.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.group.done.notify_one();
        }
    }

    /// True when its request was answered without it.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.group.abandoned.load(Ordering::Relaxed) || Arc::strong_count(&self.group) == 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_what_is_decided_stays_and_the_rest_is_open() {
        let group = AckGroup::new();
        let (first, second) = (group.ack(), group.ack());
        first.complete(Ok(()));
        assert!(!group.is_decided());
        let results = group.decided(Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(results.to_vec(), [Some(Ok(())), None]);
        assert!(second.is_abandoned(), "the request was answered without it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_decision_wakes_the_request() {
        let group = AckGroup::new();
        let acks = [group.ack(), group.ack()];
        let waiting = tokio::spawn({
            let group = Arc::clone(&group);
            async move { group.decided(Instant::now() + Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        acks.into_iter().for_each(|ack| ack.complete(Err(AckError::Deleted)));
        assert_eq!(waiting.await.unwrap().to_vec(), [Some(Err(AckError::Deleted)); 2]);
    }

    #[test]
    fn a_request_that_goes_away_abandons_its_acknowledgements() {
        let group = AckGroup::new();
        let acks = [group.ack(), group.ack()];
        let wait = AckWait(group);
        assert!(!acks[0].is_abandoned());
        drop(wait);
        assert!(acks[0].is_abandoned());
    }
}
