//! The metadata store: one revision for the whole, guarded transactions, a leadership that moves without asking. Keys
//! and guards are production's.

use std::collections::HashMap;
use std::sync::Arc;

use highwater_controller::cluster::Step;
use highwater_controller::store::{Condition, Guard, Key, Operation, Transaction, layout};
use highwater_proto::metadata::{MetadataImage, MetadataUpdate};
use highwater_proto::types::Revision;

/// How a transaction ended, as its controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At this revision.
    Committed(Revision),
    /// A guarded key was written by somebody else.
    Conflict,
    /// The leadership is somebody else's.
    Deposed,
    /// Nothing happened.
    Unavailable,
    /// It happened, or will, or not.
    Unknown,
}

/// The store, and all that it ever was.
#[derive(Debug)]
pub struct Store {
    images: Vec<Arc<MetadataImage>>,
    updates: Vec<MetadataUpdate>,
    revisions: HashMap<Key, Revision>,
    leadership: Revision,
    /// Transactions whose outcome nobody waits for any more: (leadership, transaction, step).
    pub late: Vec<(Revision, Transaction, Step)>,
}

impl Default for Store {
    fn default() -> Self {
        let nothing = MetadataUpdate {
            revision: Revision(0),
            changes: Vec::new(),
        };
        Self {
            images: vec![Arc::default()],
            updates: vec![nothing],
            revisions: HashMap::new(),
            leadership: Revision(0),
            late: Vec::new(),
        }
    }
}

impl Store {
    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.images.len() as i64 - 1)
    }

    /// What is committed.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image_at(self.revision().get())
    }

    /// What was committed at a revision.
    #[must_use]
    pub fn image_at(&self, revision: i64) -> Arc<MetadataImage> {
        Arc::clone(&self.images[revision.max(0) as usize])
    }

    /// What a revision changed.
    #[must_use]
    pub fn update_at(&self, revision: i64) -> &MetadataUpdate {
        &self.updates[revision.max(0) as usize]
    }

    /// The revision of each key.
    #[must_use]
    pub fn revisions(&self) -> HashMap<Key, Revision> {
        self.revisions.clone()
    }

    /// The revision at which the present leadership began.
    #[must_use]
    pub fn leadership(&self) -> Revision {
        self.leadership
    }

    /// Somebody else leads from now on. The election's key takes a revision, too.
    pub fn campaign(&mut self) -> Revision {
        self.push(Vec::new());
        self.leadership = self.revision();
        self.leadership
    }

    /// The transaction of a step, decided on keys as of these revisions.
    #[must_use]
    pub fn transaction(step: &Step, known: &HashMap<Key, Revision>) -> Transaction {
        let mut transaction = Transaction::default();
        for operation in step.iter().flat_map(layout::operations) {
            transaction.guards.push(Guard {
                key: operation.key().clone(),
                modified: known.get(operation.key()).copied().unwrap_or(Revision(0)),
            });
            transaction.operations.push(operation);
        }
        transaction
    }

    /// Commits a transaction, if its leadership and its guards hold.
    pub fn commit(&mut self, leadership: Revision, transaction: &Transaction, step: &Step) -> Outcome {
        let modified = |key: &Key| self.revisions.get(key).copied().unwrap_or(Revision(0));
        for condition in transaction.conditions() {
            match condition {
                Condition::Leadership if leadership != self.leadership => return Outcome::Deposed,
                Condition::Key(guard) if modified(&guard.key) != guard.modified => return Outcome::Conflict,
                Condition::Leadership | Condition::Key(_) => {}
            }
        }
        self.push(step.clone());
        let revision = self.revision();
        apply_revisions(&mut self.revisions, transaction, revision);
        Outcome::Committed(revision)
    }

    fn push(&mut self, changes: Step) {
        let update = MetadataUpdate {
            revision: Revision(self.revision().get() + 1),
            changes,
        };
        self.images.push(Arc::new(self.image().apply(&update)));
        self.updates.push(update);
    }
}

/// What a transaction does to the revisions of keys.
pub fn apply_revisions(revisions: &mut HashMap<Key, Revision>, transaction: &Transaction, revision: Revision) {
    for operation in &transaction.operations {
        match operation {
            Operation::Put(key, _) => {
                revisions.insert(key.clone(), revision);
            }
            Operation::Delete(key) => {
                revisions.remove(key);
            }
        }
    }
}
