//! What partitions here have to tell the controller.

use std::sync::atomic::{AtomicU64, Ordering};

use highwater_proto::types::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Partitions with news for the controller. What exactly they have to say stays with them until it is answered: an ISR
/// proposal in the replica, for example. So a partition is in here at most once per piece of news.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<News>,
    some: Notify,
    isr_shrinks: AtomicU64,
    isr_expands: AtomicU64,
}

/// Who has news.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Partitions led from here whose ISR should change.
    pub proposals: Vec<TopicPartition>,
    /// Replicas here that cannot be used any more.
    pub offline: Vec<TopicPartition>,
}

impl News {
    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proposals.is_empty() && self.offline.is_empty()
    }
}

impl Reports {
    /// The leader has an ISR proposal.
    pub(super) fn proposal(&self, key: TopicPartition) {
        self.add(|news| news.proposals.push(key));
    }

    /// The replica here cannot be used any more.
    pub fn offline(&self, key: TopicPartition) {
        self.add(|news| news.offline.push(key));
    }

    fn add(&self, add: impl FnOnce(&mut News)) {
        let mut waiting = self.waiting.lock();
        let first = waiting.is_empty();
        add(&mut waiting);
        if first {
            self.some.notify_one();
        }
    }

    /// The ISR of a partition led from here has another number of members.
    pub(super) fn isr_changed(&self, before: usize, after: usize) {
        if after < before {
            self.isr_shrinks.fetch_add(1, Ordering::Relaxed);
        } else if after > before {
            self.isr_expands.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many ISRs of partitions led from here lost members, and how many gained some.
    #[must_use]
    pub fn isr_changes(&self) -> (u64, u64) {
        (
            self.isr_shrinks.load(Ordering::Relaxed),
            self.isr_expands.load(Ordering::Relaxed),
        )
    }

    /// Waits for news, and takes all that are there.
    pub async fn take(&self) -> News {
        loop {
            let taken = self.take_now();
            if !taken.is_empty() {
                return taken;
            }
            self.some.notified().await;
        }
    }

    /// Takes all that are there.
    pub fn take_now(&self) -> News {
        std::mem::take(&mut *self.waiting.lock())
    }
}
