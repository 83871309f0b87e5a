//! What a follower's fetch session has to look at: partitions put themselves in, so that a fetch costs by what happened and
//! not by the number of partitions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

/// The partitions of one session that have something for the follower, by their slots in the session.
#[derive(Debug, Default)]
pub struct Feed {
    inner: Mutex<Inner>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    /// Worth an answer.
    loud: VecDeque<u32>,
    /// To be said with the next answer.
    quiet: Vec<u32>,
    /// The request that waits.
    waiter: Option<Arc<Notify>>,
}

impl Feed {
    /// A request waits for something worth an answer. False if there is something already.
    pub fn park(&self, waiter: &Arc<Notify>) -> bool {
        let mut inner = self.inner.lock();
        let waits = inner.loud.is_empty();
        inner.waiter = waits.then(|| Arc::clone(waiter));
        waits
    }

    /// Wakes the request that waits, whatever there is.
    pub fn wake(&self) {
        let waiter = self.inner.lock().waiter.take();
        if let Some(waiter) = waiter {
            waiter.notify_one();
        }
    }

    /// Takes all slots out, those worth an answer first. One may be in there twice.
    pub fn drain(&self, into: &mut Vec<u32>) {
        let mut inner = self.inner.lock();
        into.extend(inner.loud.drain(..));
        into.append(&mut inner.quiet);
    }

    /// The slot has something left that is worth an answer, but not in this one.
    fn put_back(&self, slot: u32) {
        self.inner.lock().loud.push_back(slot);
    }

    /// The slot has something to say with the next answer.
    pub fn put_back_quietly(&self, slot: u32) {
        self.inner.lock().quiet.push(slot);
    }

    /// Nobody looks at it any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The slot has something that is worth an answer.
    pub fn push(&self, slot: u32) {
        let mut inner = self.inner.lock();
        inner.loud.push_back(slot);
        let waiter = inner.waiter.take();
        drop(inner);
        if let Some(waiter) = waiter {
            waiter.notify_one();
        }
    }
}

/// The feeds of one partition: one per follower.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    attached: SmallVec<[Attached; 2]>,
}

#[derive(Debug)]
struct Attached {
    feed: Arc<Feed>,
    slot: u32,
    /// It is in there as worth an answer.
    loud: bool,
    /// It is in there, to be said some time.
    quiet: bool,
    /// A higher high watermark alone is worth an answer.
    wants_high_watermark: bool,
}

impl Feeds {
    /// The session has looked at the partition: from now on it is told of what comes.
    pub(super) fn looked(&mut self, feed: &Arc<Feed>, slot: u32, wants_high_watermark: bool) {
        self.attached.retain(|it| !it.feed.closed.load(Ordering::Acquire));
        let now = Attached {
            feed: Arc::clone(feed),
            slot,
            loud: false,
            quiet: false,
            wants_high_watermark,
        };
        match self.attached.iter_mut().find(|it| Arc::ptr_eq(&it.feed, feed)) {
            Some(known) => *known = now,
            None => self.attached.push(now),
        }
    }

    /// The session has looked, but had no room for what there is.
    pub(super) fn left_out(&mut self, feed: &Arc<Feed>) {
        if let Some(attached) = self.attached.iter_mut().find(|it| Arc::ptr_eq(&it.feed, feed)) {
            attached.loud = true;
            feed.put_back(attached.slot);
        }
    }

    /// The session looks at the partition no longer.
    pub(super) fn detach(&mut self, feed: &Arc<Feed>) {
        self.attached.retain(|it| !Arc::ptr_eq(&it.feed, feed));
    }

    /// Records, or something else that followers should hear of at once.
    pub(super) fn news(&mut self) {
        for attached in &mut self.attached {
            if !std::mem::replace(&mut attached.loud, true) {
                attached.feed.push(attached.slot);
            }
        }
    }

    /// A higher high watermark; the session of `looking` is looking at it.
    pub(super) fn high_watermark_moved(&mut self, looking: Option<&Arc<Feed>>) {
        for attached in &mut self.attached {
            let is_looking = looking.is_some_and(|looking| Arc::ptr_eq(looking, &attached.feed));
            if attached.loud || is_looking {
                continue;
            }
            if attached.wants_high_watermark {
                attached.loud = true;
                attached.feed.push(attached.slot);
            } else if !std::mem::replace(&mut attached.quiet, true) {
                attached.feed.put_back_quietly(attached.slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(feed: &Feed) -> Vec<u32> {
        let mut slots = Vec::new();
        feed.drain(&mut slots);
        slots
    }

    #[test]
    fn a_partition_is_in_a_feed_once_until_it_is_looked_at() {
        let feed = Arc::<Feed>::default();
        let mut feeds = Feeds::default();
        feeds.news();
        feeds.looked(&feed, 7, false);
        feeds.news();
        feeds.news();
        feeds.high_watermark_moved(None);
        assert_eq!(drained(&feed), [7]);
        feeds.news();
        assert!(drained(&feed).is_empty(), "nobody has looked since");
        feeds.looked(&feed, 7, false);
        feeds.high_watermark_moved(None);
        feeds.high_watermark_moved(None);
        let waiter = Arc::<Notify>::default();
        assert!(feed.park(&waiter), "a high watermark alone is worth no answer");
        feeds.news();
        assert_eq!(drained(&feed), [7, 7]);
        feeds.looked(&feed, 7, true);
        feeds.high_watermark_moved(None);
        assert!(!feed.park(&waiter), "unless the follower wants it");
        feed.close();
        feeds.looked(&Arc::default(), 1, false);
        assert_eq!(feeds.attached.len(), 1, "closed feeds go");
    }

    #[tokio::test(start_paused = true)]
    async fn news_wake_the_request_that_waits_once() {
        let feed = Arc::<Feed>::default();
        let mut feeds = Feeds::default();
        feeds.looked(&feed, 1, false);
        let waiter = Arc::<Notify>::default();
        assert!(feed.park(&waiter));
        feeds.news();
        waiter.notified().await;
        assert_eq!(drained(&feed), [1]);
        feed.wake();
        let late = tokio::time::timeout(std::time::Duration::from_secs(1), waiter.notified()).await;
        assert!(late.is_err(), "nobody waits any more");
    }
}
