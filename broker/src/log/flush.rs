//! What has to reach the disk before a log end counts as flushed, carried from the partition's lock to a flusher
//! thread and back.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use highwater_proto::types::{LeaderEpoch, Offset};
use smallvec::SmallVec;

use crate::log::durability::FlushClaim;
use crate::log::error::LogError;
use crate::log::files::{replace_file, sync_dir};
use crate::log::fill::Fill;
use crate::log::log_dir::LogDir;
use crate::log::segment::Finished;

/// A file with bytes that are not on disk yet.
#[derive(Clone, Debug)]
pub(super) struct DirtyFile {
    /// The open file. Kept open until it is flushed, so that no write-back error is missed.
    pub file: Arc<File>,
    /// True if it was cut: then its metadata has to reach the disk too (fsync instead of fdatasync).
    pub cut: bool,
}

/// Everything of one log that waits for the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    pub files: SmallVec<[DirtyFile; 2]>,
    /// `leader-epoch-checkpoint` has to be written.
    pub epochs: bool,
    /// Files were created, renamed or removed in the partition's directory.
    pub dir: bool,
    /// The partition's directory itself was created: the number that [`LogDir::note_creation`] gave.
    pub created: Option<u64>,
    /// The log end moved, or was never confirmed.
    pub end: bool,
}

impl Dirty {
    /// Adds what closing a segment changed.
    pub(super) fn add_finished(&mut self, finished: &Finished) {
        finished.indexes.iter().for_each(|index| self.add(index, false));
        finished.cut.iter().for_each(|file| self.add(file, true));
    }

    /// Adds a file, once.
    pub(super) fn add(&mut self, file: &Arc<File>, cut: bool) {
        match self.files.iter_mut().find(|dirty| Arc::ptr_eq(&dirty.file, file)) {
            Some(dirty) => dirty.cut |= cut,
            None => self.files.push(DirtyFile {
                file: Arc::clone(file),
                cut,
            }),
        }
    }

    /// True if the file is among what waits.
    pub(super) fn contains(&self, file: &Arc<File>) -> bool {
        self.files.iter().any(|dirty| Arc::ptr_eq(&dirty.file, file))
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.epochs && !self.dir && self.created.is_none() && !self.end
    }
}

/// The work of one flush: taken under the partition's lock ([`crate::log::Log::take_flush_ticket`]), carried out
/// without it, answered with [`crate::log::Log::complete_flush`].
#[derive(Debug)]
pub struct FlushTicket {
    pub(super) log_dir: Arc<LogDir>,
    pub(super) fill: Option<Arc<Fill>>,
    pub(super) files: SmallVec<[DirtyFile; 2]>,
    pub(super) epoch_checkpoint: Option<(PathBuf, String)>,
    pub(super) dir: Option<PathBuf>,
    pub(super) created: Option<u64>,
    pub(super) claim: FlushClaim,
    pub(super) epoch: Option<LeaderEpoch>,
}

impl FlushTicket {
    /// Log end offset that this flush confirms.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.claim.end()
    }

    /// True if the flush fills the file ahead of its batches.
    pub(super) fn fills(&self) -> bool {
        self.fill.is_some()
    }

    /// Fills nothing ahead this time.
    pub(super) fn skip_fill(&mut self) {
        self.fill = None;
    }

    /// Does the work: slow, and never under a lock. A failure marks the whole disk as failed, for good: after a failed
    /// fdatasync the kernel has dropped the pages, so that a second one would lie. Only that there is no room for the
    /// epoch checkpoint, or no file handle, is no failure: nothing that was written is lost, and the next flush tries
    /// again.
    #[must_use]
    pub fn flush(self) -> FlushOutcome {
        let result = self.sync_files().and_then(|()| self.sync_names());
        let no_room = result.as_ref().is_err_and(|error| {
            matches!(error, LogError::Io { action, .. }
            if *action != SYNC && (error.is_disk_full() || error.is_out_of_files()))
        });
        match &result {
            Err(error) if no_room => {
                let _ = self.log_dir.relieve(error);
            }
            Err(error) => self.log_dir.fail(error),
            Ok(()) => {}
        }
        FlushOutcome {
            claim: self.claim,
            epoch: self.epoch,
            flushed: result.is_ok(),
            redo: no_room.then_some(Redo { created: self.created }),
        }
    }

    fn sync_files(&self) -> Result<(), LogError> {
        self.log_dir.check()?;
        if let Some(fill) = &self.fill {
            fill.run();
        }
        for dirty in &self.files {
            let result = if dirty.cut {
                rustix::fs::fsync(&dirty.file)
            } else {
                rustix::fs::fdatasync(&dirty.file)
            };
            result.map_err(|e| LogError::io(SYNC, self.log_dir.root(), e))?;
        }
        Ok(())
    }

    fn sync_names(&self) -> Result<(), LogError> {
        if let Some((path, content)) = &self.epoch_checkpoint {
            replace_file(path, content.as_bytes())?;
        }
        if let Some(dir) = &self.dir {
            sync_dir(dir)?;
        }
        match self.created {
            Some(number) => self.log_dir.sync_creations(number),
            None => Ok(()),
        }
    }
}

/// What an error says that was tried when a file with records was flushed.
const SYNC: &str = "flush a file of";

/// What has to be done again because there was no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redo {
    pub created: Option<u64>,
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushOutcome {
    pub(super) claim: FlushClaim,
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) flushed: bool,
    pub(super) redo: Option<Redo>,
}

impl FlushOutcome {
    /// True if the bytes are on disk; false if the disk failed, now or before.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.flushed
    }
}
