//! The metadata as one controller knows it: the image, and of every key the revision that wrote it last, which is what
//! the next transaction on that key is guarded by.

use std::collections::HashMap;
use std::sync::Arc;

use highwater_proto::metadata::{Change, MetadataImage, MetadataUpdate};
use highwater_proto::types::Revision;

use crate::cluster::Step;
use crate::store::layout::{self, ABSENT, LayoutError};
use crate::store::{Guard, Key, Loaded, Operation, Transaction, WatchEvent};

/// An image that can be written on.
#[derive(Default)]
pub(crate) struct StoreView {
    image: Arc<MetadataImage>,
    /// Revisions of all keys but those of partitions, whose epochs are in the image.
    revisions: HashMap<Key, Revision>,
}

impl StoreView {
    /// What a store has.
    ///
    /// # Errors
    /// If a key or value is not of this release.
    pub(crate) fn of(loaded: Loaded) -> Result<Self, LayoutError> {
        let image = Arc::new(MetadataImage::from_snapshot(&layout::snapshot(&loaded)?));
        let others = loaded.entries.into_iter().filter(|entry| !is_partition(&entry.key));
        let revisions = others.map(|entry| (entry.key, entry.modified)).collect();
        Ok(Self { image, revisions })
    }

    /// The image.
    pub(crate) fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// What the store has now, in place of an image that was shown.
    ///
    /// # Errors
    /// If a key or value is not of this release, or the store is behind: images never go back.
    pub(crate) fn reloaded(loaded: Loaded, shown: &MetadataImage) -> Result<Self, ReloadError> {
        let next = Self::of(loaded)?;
        let (generation, revision) = (shown.cluster.generation, shown.revision);
        match StoreBehind::check(&next.image, "this controller", generation, revision) {
            Some(behind) => Err(ReloadError::Behind(behind)),
            None => Ok(next),
        }
    }

    /// A step that changes nothing: whatever is committed later, by whomever, is later than its revision, and who has
    /// seen it has seen everything earlier. It fails if the cluster's own key is not what this view says.
    pub(crate) fn barrier(&self) -> Step {
        vec![Change::PutCluster(self.image.cluster.clone())]
    }

    /// The transaction of a step, guarded by what this view knows of each of its keys.
    pub(crate) fn transaction(&self, step: &Step) -> Transaction {
        let mut transaction = Transaction::default();
        for change in step {
            for operation in layout::operations(change) {
                transaction.guards.push(Guard {
                    key: operation.key().clone(),
                    modified: self.modified(change, operation.key()),
                });
                transaction.operations.push(operation);
            }
        }
        transaction
    }

    /// A step of this controller was committed. Answers the update that leads to the new image.
    pub(crate) fn committed(&mut self, revision: Revision, step: Step) -> MetadataUpdate {
        for operation in step
            .iter()
            .filter(|change| !is_partition_change(change))
            .flat_map(layout::operations)
        {
            self.wrote(revision, &operation);
        }
        self.apply(MetadataUpdate {
            revision,
            changes: step,
        })
    }

    /// A transaction of whoever leads was seen. Answers the update that leads to the new image. It may be empty: every
    /// revision is shown, so that all nodes count alike.
    ///
    /// # Errors
    /// If a key or value is not of this release.
    pub(crate) fn seen(&mut self, event: &WatchEvent) -> Result<MetadataUpdate, LayoutError> {
        let update = layout::update(&self.image, event)?;
        for operation in &event.operations {
            self.wrote(event.revision, operation);
        }
        Ok(self.apply(update))
    }

    fn apply(&mut self, update: MetadataUpdate) -> MetadataUpdate {
        self.image = Arc::new(self.image.apply(&update));
        update
    }

    fn wrote(&mut self, revision: Revision, operation: &Operation) {
        match operation {
            Operation::Put(key, _) if !is_partition(key) => {
                self.revisions.insert(key.clone(), revision);
            }
            Operation::Delete(key) => {
                self.revisions.remove(key);
            }
            Operation::Put(..) => {}
        }
    }

    /// The revision that a key has, as far as this controller knows: what the decision was made on.
    fn modified(&self, change: &Change, key: &Key) -> Revision {
        match change {
            Change::PutPartition(topic, index, _) | Change::DeletePartition(topic, index) => {
                let kept = self.image.kept_partition(*topic, *index);
                kept.map_or(ABSENT, |partition| Revision(partition.epoch.get()))
            }
            _ => self.revisions.get(key).copied().unwrap_or(ABSENT),
        }
    }
}

/// A view was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Behind(#[from] StoreBehind),
}

/// The store lacks what was committed before: it was restored from a backup, without telling the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the metadata store is at generation {generation}, revision {revision}, but {who} has seen generation \
     {seen_generation}, revision {seen_revision}: after a restore from a backup, run `highwater-controller restore \
     --seen-revision {seen_revision}`"
)]
pub struct StoreBehind {
    /// Who knows more.
    pub who: String,
    /// The store's generation.
    pub generation: i64,
    /// The store's revision.
    pub revision: Revision,
    /// The generation that was seen.
    pub seen_generation: i64,
    /// The revision that was seen.
    pub seen_revision: Revision,
}

impl StoreBehind {
    /// Compares an image of the store with what somebody has seen of it.
    pub(crate) fn check(image: &MetadataImage, who: &str, generation: i64, revision: Revision) -> Option<Self> {
        let ours = (image.cluster.generation, image.revision);
        (ours < (generation, revision)).then(|| Self {
            who: who.to_owned(),
            generation: ours.0,
            revision: ours.1,
            seen_generation: generation,
            seen_revision: revision,
        })
    }

    /// True once an image has what was seen, or comes from a restore that left it behind for good.
    pub(crate) fn is_over(&self, image: &MetadataImage) -> bool {
        Self::check(image, &self.who, self.seen_generation, self.seen_revision).is_none()
    }
}

fn is_partition(key: &str) -> bool {
    key.starts_with(layout::PARTITION_PREFIX)
}

/// True for changes of partitions' keys, each of which stands for itself: the order among them is of no meaning.
pub(crate) fn is_partition_change(change: &Change) -> bool {
    matches!(change, Change::PutPartition(..) | Change::DeletePartition(..))
}
