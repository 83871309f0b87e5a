//! What watchers are told: the newest image, and the last updates in a ring. A watcher whose place in the ring is gone
//! gets a fresh snapshot, so nothing queues up for slow ones.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use highwater_proto::grpc;
use highwater_proto::metadata::{MetadataImage, MetadataSnapshot, MetadataUpdate, convert};
use highwater_proto::types::Revision;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Updates that a watcher is given at once.
const BATCH: usize = 64;

pub(crate) struct Updates {
    ring: Mutex<Ring>,
    image: watch::Sender<Arc<MetadataImage>>,
}

struct Ring {
    /// The revision that the oldest update follows on.
    base: Revision,
    updates: VecDeque<Arc<grpc::MetadataUpdate>>,
    /// How many are kept.
    capacity: usize,
    /// A snapshot that some watcher is being sent: others take it too, if the ring goes on from it.
    snapshot: Weak<MetadataSnapshot>,
}

/// What comes after a revision.
pub(crate) enum Next {
    /// These updates, oldest first; none if the watcher has everything.
    Updates(Vec<Arc<grpc::MetadataUpdate>>),
    /// The updates are no longer kept.
    Snapshot(Arc<MetadataSnapshot>),
}

impl Updates {
    /// Keeps so many updates.
    pub(crate) fn new(capacity: usize) -> Self {
        let ring = Ring {
            base: Revision(0),
            updates: VecDeque::new(),
            capacity,
            snapshot: Weak::new(),
        };
        Self {
            ring: Mutex::new(ring),
            image: watch::Sender::default(),
        }
    }

    /// The images as they come.
    pub(crate) fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.subscribe()
    }

    /// The newest image.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// An update was committed and led to this image.
    pub(crate) fn publish(&self, update: &MetadataUpdate, image: &Arc<MetadataImage>) {
        let message = Arc::new(convert::update_to_grpc(update));
        {
            let mut ring = self.ring.lock();
            if ring.updates.len() >= ring.capacity
                && let Some(oldest) = ring.updates.pop_front()
            {
                ring.base = Revision(oldest.revision);
            }
            ring.updates.push_back(message);
        }
        self.image.send_replace(Arc::clone(image));
    }

    /// The image was read from the store: nothing is known of how it came to be.
    pub(crate) fn restart(&self, image: &Arc<MetadataImage>) {
        {
            let mut ring = self.ring.lock();
            ring.base = image.revision;
            ring.updates.clear();
            ring.snapshot = Weak::new();
        }
        self.image.send_replace(Arc::clone(image));
    }

    /// What a watcher that has everything up to a revision gets next.
    pub(crate) fn after(&self, revision: Revision) -> Next {
        let image = self.image();
        let mut ring = self.ring.lock();
        if revision >= ring.base {
            let newer = ring.updates.partition_point(|update| update.revision <= revision.get());
            return Next::Updates(ring.updates.range(newer..).take(BATCH).cloned().collect());
        }
        if let Some(snapshot) = ring
            .snapshot
            .upgrade()
            .filter(|snapshot| snapshot.revision >= ring.base)
        {
            return Next::Snapshot(snapshot);
        }
        let snapshot = Arc::new(image.snapshot());
        ring.snapshot = Arc::downgrade(&snapshot);
        Next::Snapshot(snapshot)
    }

    /// A snapshot for a watcher that has nothing that could be extended.
    pub(crate) fn snapshot(&self) -> Arc<MetadataSnapshot> {
        match self.after(Revision(-1)) {
            Next::Snapshot(snapshot) => snapshot,
            Next::Updates(_) => Arc::new(self.image().snapshot()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = 100;

    fn image_at(revision: i64) -> Arc<MetadataImage> {
        let update = MetadataUpdate {
            revision: Revision(revision),
            changes: Vec::new(),
        };
        Arc::new(MetadataImage::default().apply(&update))
    }

    fn publish(updates: &Updates, revision: i64) {
        let update = MetadataUpdate {
            revision: Revision(revision),
            changes: Vec::new(),
        };
        let image = Arc::new(updates.image().apply(&update));
        updates.publish(&update, &image);
    }

    fn revisions(updates: &Updates, after: i64) -> Option<Vec<i64>> {
        match updates.after(Revision(after)) {
            Next::Updates(updates) => Some(updates.iter().map(|update| update.revision).collect()),
            Next::Snapshot(_) => None,
        }
    }

    #[test]
    fn a_watcher_gets_what_it_lacks_or_a_snapshot() {
        let updates = Updates::new(KEPT);
        updates.restart(&image_at(10));
        assert_eq!(revisions(&updates, 10), Some(vec![]));
        assert_eq!(revisions(&updates, 9), None, "nobody knows what led here");
        (11..=13).for_each(|revision| publish(&updates, revision));
        assert_eq!(revisions(&updates, 11), Some(vec![12, 13]));
        let kept = KEPT as i64;
        (14..=14 + kept).for_each(|revision| publish(&updates, revision));
        assert_eq!(revisions(&updates, 13), None, "its place in the ring is gone");
        let batch = revisions(&updates, 14).unwrap();
        assert_eq!((batch.len(), batch[0]), (BATCH, 15));
    }

    #[test]
    fn watchers_share_a_snapshot_that_the_ring_goes_on_from() {
        let updates = Updates::new(KEPT);
        updates.restart(&image_at(10));
        let first = updates.snapshot();
        publish(&updates, 11);
        assert!(Arc::ptr_eq(&first, &updates.snapshot()));
        assert_eq!(revisions(&updates, first.revision.get()), Some(vec![11]));
        drop(first);
        assert_eq!(updates.snapshot().revision, Revision(11));
    }
}
