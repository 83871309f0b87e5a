//! The messages of a metadata watch: whole snapshots in parts, and deltas.

use std::mem;

use crate::grpc;
use crate::metadata::convert::{ConvertError, change_from_grpc, change_to_grpc};
use crate::metadata::{MetadataSnapshot, MetadataUpdate, SnapshotEntry};
use crate::types::Revision;

/// Changes in one message of a snapshot: keeps a message far below the frame limit (a partition is about 100 bytes).
pub const SNAPSHOT_CHUNK_CHANGES: usize = 2_000;
/// Changes that a snapshot may have before its receiver gives up: ten times the largest cluster of the design.
pub const SNAPSHOT_MAX_CHANGES: usize = 16_000_000;

/// A delta for the wire.
#[must_use]
pub fn update_to_grpc(update: &MetadataUpdate) -> grpc::MetadataUpdate {
    grpc::MetadataUpdate {
        snapshot: false,
        revision: update.revision.get(),
        changes: update
            .changes
            .iter()
            .map(|change| change_to_grpc(Revision(0), change))
            .collect(),
        last: true,
    }
}

/// A snapshot for the wire, in messages of at most [`SNAPSHOT_CHUNK_CHANGES`] changes.
pub fn snapshot_to_grpc(snapshot: &MetadataSnapshot) -> impl Iterator<Item = grpc::MetadataUpdate> {
    let revision = snapshot.revision.get();
    let chunks = snapshot.entries.len().div_ceil(SNAPSHOT_CHUNK_CHANGES).max(1);
    (0..chunks).map(move |chunk| {
        let from = chunk * SNAPSHOT_CHUNK_CHANGES;
        let to = (from + SNAPSHOT_CHUNK_CHANGES).min(snapshot.entries.len());
        let changes = &snapshot.entries[from..to];
        grpc::MetadataUpdate {
            snapshot: true,
            revision,
            changes: changes
                .iter()
                .map(|entry| change_to_grpc(entry.modified, &entry.change))
                .collect(),
            last: chunk + 1 == chunks,
        }
    })
}

/// What a watcher received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Replaces the image.
    Snapshot(MetadataSnapshot),
    /// Extends the image.
    Update(MetadataUpdate),
}

/// Puts the messages of a `WatchMetadata` stream together; one per stream.
#[derive(Debug, Default)]
pub struct UpdateAssembler {
    pending: MetadataSnapshot,
    open: bool,
}

impl UpdateAssembler {
    /// Takes the next message of the stream; answers when a delta or a whole snapshot is there.
    ///
    /// # Errors
    /// If the message is not one that a controller sends: the stream is to be closed and opened again.
    pub fn push(&mut self, message: grpc::MetadataUpdate) -> Result<Option<Received>, ConvertError> {
        let revision = Revision(message.revision);
        if !message.snapshot {
            if self.open {
                return Err(ConvertError::SnapshotInterrupted);
            }
            let changes = message
                .changes
                .into_iter()
                .map(|change| change_from_grpc(change).map(|(_, change)| change));
            let changes = changes.collect::<Result<_, _>>()?;
            return Ok(Some(Received::Update(MetadataUpdate { revision, changes })));
        }
        if self.open && self.pending.revision != revision {
            return Err(ConvertError::SnapshotInterrupted);
        }
        if self.pending.entries.len() + message.changes.len() > SNAPSHOT_MAX_CHANGES {
            return Err(ConvertError::SnapshotTooLarge);
        }
        self.open = true;
        self.pending.revision = revision;
        for change in message.changes {
            let (modified, change) = change_from_grpc(change)?;
            self.pending.entries.push(SnapshotEntry { modified, change });
        }
        if !message.last {
            return Ok(None);
        }
        self.open = false;
        Ok(Some(Received::Snapshot(mem::take(&mut self.pending))))
    }
}
