//! Rebuilding the producers' state: from a snapshot and the batches behind it.

use std::path::Path;

use highwater_proto::types::Offset;

use crate::log::error::LogError;
use crate::log::files::remove_file;
use crate::log::log_dir::list;
use crate::log::partition_log::Log;
use crate::log::producer_snapshot;
use crate::log::producer_state::ProducerState;
use crate::log::scan::{Found, Scan};
use crate::log::segment::{LOG_SUFFIX, Segment};

impl Log {
    /// Builds the producers' state from the newest usable snapshot at or below `trusted` and the batches behind it.
    /// Snapshots above go: after an unclean stop they may be of a log that was cut off there before.
    pub(super) fn rebuild_producers(&mut self, trusted: Offset) -> Result<(), LogError> {
        let trusted = trusted.min(self.log_end);
        let snapshots = producer_snapshot::list(&list(&self.dir)?);
        producer_snapshot::remove(&self.dir, &snapshots, |offset| offset > trusted)?;
        let first = self.segments.first().map_or(self.log_end, |segment| segment.base);
        let mut producers = ProducerState::empty_at(first);
        // One from before the first segment would leave a hole.
        for offset in snapshots
            .into_iter()
            .rev()
            .filter(|offset| (first..=trusted).contains(offset))
        {
            let path = producer_snapshot::path(&self.dir, offset);
            if let Some(state) = read_snapshot(&path, offset)? {
                producers = state;
                break;
            }
            remove_file(&path)?;
        }
        for at in self.segment_at(producers.end()).min(self.segments.len())..self.segments.len() {
            if producers.end() == self.segments[at].base && at > 0 {
                self.write_snapshot_if_missing(&producers)?;
            }
            self.replay(&self.segments[at], &mut producers)?;
        }
        producers.set_end(self.log_end);
        self.producers = producers;
        Ok(())
    }

    /// Updates the state with the batches of a segment that it does not reflect yet.
    fn replay(&self, segment: &Segment, producers: &mut ProducerState) -> Result<(), LogError> {
        let files = self.files(segment);
        let Some(found) = segment.locate(files, producers.end())? else {
            return Ok(());
        };
        let file = segment.file(files)?;
        let mut scan = Scan::headers(&file, found.position, segment.size);
        while let Found::Batch(header) = scan
            .peek()
            .map_err(|e| LogError::io("read", files.path(LOG_SUFFIX), e))?
        {
            if header.base_offset >= producers.end() {
                producers.update(&header);
            }
            scan.advance(&header);
        }
        Ok(())
    }
}

fn read_snapshot(path: &Path, end: Offset) -> Result<Option<ProducerState>, LogError> {
    let bytes = std::fs::read(path).map_err(|e| LogError::io("read", path, e))?;
    Ok(producer_snapshot::decode(end, &bytes))
}
