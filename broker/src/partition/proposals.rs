//! Partitions whose leaders here have something to ask of the controller.

use highwater_proto::types::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Partitions with a new ISR proposal. The proposal itself stays in the replica until it is answered; this is only who has
/// one, so a partition is in here at most once per proposal.
#[derive(Debug, Default)]
pub struct IsrProposals {
    waiting: Mutex<Vec<TopicPartition>>,
    some: Notify,
}

impl IsrProposals {
    pub(super) fn push(&self, key: TopicPartition) {
        let mut waiting = self.waiting.lock();
        waiting.push(key);
        if waiting.len() == 1 {
            self.some.notify_one();
        }
    }

    /// Waits for some, and takes all that are there.
    pub async fn take(&self) -> Vec<TopicPartition> {
        loop {
            let taken = self.take_now();
            if !taken.is_empty() {
                return taken;
            }
            self.some.notified().await;
        }
    }

    /// Takes all that are there.
    pub fn take_now(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut *self.waiting.lock())
    }
}
