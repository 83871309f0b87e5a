//! Cutting the log at its end: a follower that has diverged from its leader, or has to begin elsewhere.

use std::fs::File;

use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs};

use crate::log::error::LogError;
use crate::log::files::{remove_file, replace_file, sync_dir};
use crate::log::index::{IndexEntry, OffsetEntry, SegmentFiles, TimeEntry};
use crate::log::leader_epochs;
use crate::log::log_dir::{self, FlushPoint};
use crate::log::partition_log::Log;
use crate::log::producer_snapshot;
use crate::log::producer_state::ProducerState;
use crate::log::segment::LOG_SUFFIX;

/// Suffix of the index of aborted transactions.
pub(super) const TXN_INDEX_SUFFIX: &str = "txnindex";

impl Log {
    /// Cuts off everything from `offset` on, and the whole batch that `offset` lies in. True if anything was cut. The
    /// flushed end follows at once; what is left counts as flushed again after the next flush. Waits for the disk: if
    /// `flush-point` vouches for what is cut off, that is taken back first, and the cut is on disk when this returns.
    ///
    /// # Errors
    /// [`LogError`]; the log must then be opened again.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<bool, LogError> {
        if offset >= self.log_end {
            self.dirty.epochs |= self.epochs.truncate_from_end(self.log_end);
            return Ok(false);
        }
        self.log_dir.check()?;
        let below_all = self.segments.first().is_none_or(|first| offset < first.base);
        if below_all {
            self.restart_at(
                offset,
                self.segments.last().map_or(TimestampMs(0), |active| active.created),
            )?;
            return Ok(true);
        }
        let at = self.segment_at(offset);
        let found = self.segments[at].locate(self.files(&self.segments[at]), offset)?;
        let position = found.map_or(self.segments[at].size, |found| found.position);
        let end = found.map_or(offset, |found| found.header.base_offset);
        if end < self.log_start {
            self.log_start = end;
            self.log_dir.record_log_start(self.name(), self.topic_id, Some(end));
        }
        self.lower_flush_point(end, self.epochs.epoch_at(Offset(end.0 - 1)))?;

        self.begin_generation(end);
        while self.segments.len() > at + 1 {
            if let Some(segment) = self.segments.pop() {
                self.remove_segment_files(segment.base)?;
            }
        }
        let segment = &mut self.segments[at];
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: segment.base.0,
        };
        let file = segment.truncate(files, position)?;
        self.sync_cut(Some(&file))?;
        self.dirty.add(&file, true);
        self.last_epoch = self.find_last_epoch()?;
        self.dirty.epochs |= self.epochs.truncate_from_end(end);
        self.rebuild_producers(end)?;
        Ok(true)
    }

    /// Drops everything and begins at `offset` (a follower whose leader starts behind its end, or a replica that is
    /// copied afresh).
    ///
    /// # Errors
    /// [`LogError`]; the log must then be opened again.
    pub fn restart_at(&mut self, offset: Offset, now: TimestampMs) -> Result<(), LogError> {
        self.log_dir.check()?;
        self.ensure_dir()?;
        self.lower_flush_point(offset, None)?;
        self.begin_generation(offset);
        self.durability.cut(Offset(0));
        // Highest first: what a crash leaves is then still a log.
        while let Some(segment) = self.segments.pop() {
            self.remove_segment_files(segment.base)?;
        }
        let snapshots = producer_snapshot::list(&log_dir::list(&self.dir)?);
        producer_snapshot::remove(&self.dir, &snapshots, |_| true)?;
        self.sync_cut(None)?;
        self.log_start = offset;
        self.last_epoch = None;
        self.epochs.clear();
        replace_file(
            &self.dir.join(leader_epochs::FILE_NAME),
            self.epochs.to_checkpoint().as_bytes(),
        )?;
        self.producers = ProducerState::empty_at(offset);
        self.log_dir.record_log_start(self.name(), self.topic_id, None);
        self.add_segment(now)
    }

    /// Waits until the cut is on disk. Were a part of it undone by a power loss after the next append, then what was
    /// cut off and what came in its place could end up in one log, with offsets and epochs that look right.
    fn sync_cut(&self, file: Option<&File>) -> Result<(), LogError> {
        let synced = match file.map(File::sync_all) {
            Some(Err(error)) => Err(LogError::io("flush", &self.dir, error)),
            _ => match sync_dir(&self.dir) {
                Err(error) if self.log_dir.relieve(&error) => sync_dir(&self.dir),
                synced => synced,
            },
        };
        synced.inspect_err(|error| {
            if !error.is_out_of_files() {
                self.log_dir.fail(error);
            }
        })
    }

    /// From here on the log is another one: flushes that are under way do not count for it.
    fn begin_generation(&mut self, end: Offset) {
        self.log_end = end;
        self.durability.cut(end);
        self.dirty.dir = true;
        self.dirty.end = true;
    }

    /// Takes back a recorded flush point above `end`, durably.
    fn lower_flush_point(&mut self, end: Offset, epoch: Option<LeaderEpoch>) -> Result<(), LogError> {
        let recorded = self
            .log_dir
            .recorded(self.name())
            .and_then(|recorded| recorded.flush_point);
        let epoch = epoch.unwrap_or(LeaderEpoch(-1));
        match recorded {
            Some(point) if point.end > end || point.epoch > epoch => {
                let point = FlushPoint {
                    end: point.end.min(end),
                    epoch,
                };
                self.log_dir.record_flush(self.name(), self.topic_id, point);
                self.log_dir.write_flush_points()
            }
            _ => Ok(()),
        }
    }

    /// Removes all files of a segment, and the producers' state at its start.
    pub(super) fn remove_segment_files(&self, base: Offset) -> Result<(), LogError> {
        for suffix in [
            LOG_SUFFIX,
            OffsetEntry::SUFFIX,
            TimeEntry::SUFFIX,
            TXN_INDEX_SUFFIX,
            "snapshot",
        ] {
            remove_file(&self.dir.join(format!("{:020}.{suffix}", base.0)))?;
        }
        Ok(())
    }

    /// Reads the epoch of the last batch.
    pub(super) fn find_last_epoch(&self) -> Result<Option<LeaderEpoch>, LogError> {
        for segment in self.segments.iter().rev() {
            if let Some(last) = segment.last_batch(self.files(segment))? {
                return Ok(Some(last.header.leader_epoch));
            }
        }
        Ok(None)
    }
}
