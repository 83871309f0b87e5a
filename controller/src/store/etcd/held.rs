//! A leadership as the store keeps it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use highwater_proto::types::Revision;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The election key and its lease, as long as they are ours.
pub(super) struct Held {
    /// What the candidate named itself.
    pub(super) candidate: String,
    pub(super) lease: i64,
    /// Revision at which the election key was created.
    pub(super) created: Revision,
    /// Revision at which it was written last. Transactions are guarded by it: whoever took the key over, or wrote it
    /// again to shut out what is still under way, makes them fail.
    fence: AtomicI64,
    /// The newest revision of ours that etcd is known to have: one that has less was restored from a backup.
    newest: AtomicI64,
    /// One at a time moves the fence.
    pub(super) fencing: tokio::sync::Mutex<()>,
    /// Fires when the leadership is, or may be, somebody else's.
    pub(super) lost: CancellationToken,
    /// Fires when the lease is revoked, or was found to have ended.
    pub(super) released: CancellationToken,
    /// When this process gives up by its own clock.
    deadline: Mutex<Instant>,
    /// Two thirds of the lease.
    patience: Duration,
}

impl Held {
    /// `asked`: when the request for the lease was sent, from which on it counts here.
    pub(super) fn new(candidate: &str, lease: i64, ttl: Duration, asked: Instant, created: Revision) -> Self {
        let patience = patience(ttl);
        Self {
            candidate: candidate.to_owned(),
            lease,
            created,
            fence: AtomicI64::new(created.get()),
            newest: AtomicI64::new(created.get()),
            fencing: tokio::sync::Mutex::new(()),
            lost: CancellationToken::new(),
            released: CancellationToken::new(),
            deadline: Mutex::new(asked + patience),
            patience,
        }
    }

    pub(super) fn fence(&self) -> i64 {
        self.fence.load(Ordering::Acquire)
    }

    /// The election key was written again, at a revision; the fence never goes back.
    pub(super) fn move_fence(&self, revision: i64) {
        self.fence.fetch_max(revision, Ordering::AcqRel);
        self.wrote(revision);
    }

    pub(super) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Acquire)
    }

    /// A transaction of ours has this revision.
    pub(super) fn wrote(&self, revision: i64) {
        self.newest.fetch_max(revision, Ordering::AcqRel);
    }

    /// etcd renewed the lease, by a request that was sent at this time.
    pub(super) fn renewed(&self, asked: Instant) {
        let mut deadline = self.deadline.lock();
        *deadline = (*deadline).max(asked + self.patience);
    }

    pub(super) fn deadline(&self) -> Instant {
        *self.deadline.lock()
    }

    /// Whether it may still be acted upon.
    pub(super) fn is_ours(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < self.deadline()
    }
}

/// How long a lease is trusted after it was asked for.
pub(super) fn patience(ttl: Duration) -> Duration {
    ttl * 2 / 3
}
