//! Rebuilding the leader epochs from the batches, where their checkpoint does not say enough.

use crate::log::error::LogError;
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::partition_log::Log;
use crate::log::scan::{Found, Scan};
use crate::log::segment::{LOG_SUFFIX, corrupt};

impl Log {
    /// Reads the epochs below the first known one from the batches. The checkpoint may be lost, and its first entry moves
    /// up with the log start, of which it may know more than the disk does. Neither makes a record unreadable.
    pub(super) fn complete_epochs(&mut self) -> Result<(), LogError> {
        let known = self.epochs.earliest().map_or(self.log_end, |first| first.start);
        if self.log_start >= known {
            return Ok(());
        }
        let mut epochs = LeaderEpochs::default();
        'segments: for segment in &self.segments[self.segment_at(self.log_start).min(self.segments.len())..] {
            let files = self.files(segment);
            let Some(found) = segment.locate(files, self.log_start)? else {
                continue;
            };
            let file = segment.file(files)?;
            let mut scan = Scan::headers(&file, found.position, segment.size);
            loop {
                match scan
                    .peek()
                    .map_err(|e| LogError::io("read", files.path(LOG_SUFFIX), e))?
                {
                    Found::Batch(header) if header.base_offset >= known => break 'segments,
                    Found::Batch(header) => {
                        epochs.assign(header.leader_epoch, header.base_offset);
                        scan.advance(&header);
                    }
                    Found::End => break,
                    other => return Err(corrupt(files, scan.position(), other)),
                }
            }
        }
        for entry in self.epochs.entries() {
            epochs.assign(entry.epoch, entry.start);
        }
        self.dirty.epochs |= epochs != self.epochs;
        self.epochs = epochs;
        Ok(())
    }
}
