//! Cutting the log at its start: DeleteRecords, retention by size and by time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_proto::types::{Offset, TimestampMs};

use crate::log::config::millis;
use crate::log::error::LogError;
use crate::log::files::{remove_file, rename_file, sync_dir};
use crate::log::index::{IndexEntry, OffsetEntry, TimeEntry};
use crate::log::log_dir::LogDir;
use crate::log::partition_log::Log;
use crate::log::segment::{LOG_SUFFIX, Segment};
use crate::log::truncate::TXN_INDEX_SUFFIX;

/// Ends of the names of a segment's files.
const SUFFIXES: [&str; 5] = [
    LOG_SUFFIX,
    OffsetEntry::SUFFIX,
    TimeEntry::SUFFIX,
    TXN_INDEX_SUFFIX,
    "snapshot",
];
/// Added to the names of files that are to be removed, as in Kafka. A start removes them at once.
const DELETED_SUFFIX: &str = "deleted";

/// Segments that are no longer part of a log. Their files stay until [`set_segments_aside`] has renamed them and
/// [`remove_segments`] has removed them, both without a lock.
#[derive(Debug)]
#[must_use = "the files stay until they are removed"]
pub struct RetiredSegments {
    log_dir: Arc<LogDir>,
    dir: PathBuf,
    bases: Vec<Offset>,
    /// Bytes of batches in them.
    pub bytes: u64,
}

impl RetiredSegments {
    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bases.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty()
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let names = |base: &Offset| {
            let dir = &self.dir;
            let base = base.0;
            SUFFIXES.map(|suffix| dir.join(format!("{base:020}.{suffix}")))
        };
        self.bases.iter().flat_map(names)
    }
}

/// Renames the files of retired segments of one disk: a new log in the same place, and the next start, then cannot take
/// them for its own. Readers that hold a slice of them go on. Slow.
///
/// # Errors
/// [`LogError::Io`]; what is left is removed by the next start.
pub fn set_segments_aside(retired: &[RetiredSegments]) -> Result<(), LogError> {
    let Some(first) = retired.iter().find(|segments| !segments.is_empty()) else {
        return Ok(());
    };
    // Where the logs start now has to be on disk first: a crash may bring back any of the files.
    first.log_dir.write_flush_points()?;
    for segments in retired.iter().filter(|segments| !segments.is_empty()) {
        for file in segments.files() {
            rename_file(&file, &deleted(&file))?;
        }
        sync_dir(&segments.dir)?;
    }
    Ok(())
}

/// Removes the files of segments that were set aside: after `file.delete.delay.ms`. Slow.
///
/// # Errors
/// [`LogError::Io`]; what is left is removed by the next start.
pub fn remove_segments(retired: &[RetiredSegments]) -> Result<(), LogError> {
    let mut files = retired.iter().flat_map(RetiredSegments::files);
    files.try_for_each(|file| remove_file(&deleted(&file)))
}

fn deleted(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(DELETED_SUFFIX);
    PathBuf::from(name)
}

impl Log {
    /// Makes `offset` the first one that may be read (DeleteRecords, or a follower that learns its leader's start).
    /// True if it moved; a lower offset changes nothing. Files go with the next [`Self::retention`].
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] if it lies above the log end.
    pub fn raise_log_start(&mut self, offset: Offset) -> Result<bool, LogError> {
        if offset > self.log_end {
            return Err(self.out_of_range(offset));
        }
        if offset <= self.log_start {
            return Ok(false);
        }
        self.move_log_start(offset);
        Ok(true)
    }

    fn move_log_start(&mut self, offset: Offset) {
        self.log_start = offset;
        self.dirty.epochs |= self.has_dir && self.epochs.truncate_from_start(offset);
        self.log_dir.record_log_start(self.name(), self.topic_id, Some(offset));
    }

    /// Takes segments out of the log that lie below its start, or that `retention.bytes` or `retention.ms` no longer
    /// keep, in this order, oldest first. Never anything at or above the high watermark. `now` is the wall clock.
    ///
    /// # Errors
    /// [`LogError::Io`] if a new active segment was needed and cannot be created.
    pub fn retention(&mut self, now: TimestampMs, high_watermark: Offset) -> Result<RetiredSegments, LogError> {
        let mut count = self.due_from(0, high_watermark, |log, at, _| {
            log.segments.get(at + 1).is_some_and(|next| next.base <= log.log_start)
        });
        if self.config.delete {
            if let Some(limit) = self.config.retention_bytes {
                let mut left: u64 = self.segments[count..].iter().map(|segment| segment.size).sum();
                count = self.due_from(count, high_watermark, |_, _, segment| {
                    left = left.saturating_sub(segment.size);
                    left >= limit
                });
            }
            if let Some(limit) = self.config.retention_ms {
                let limit = millis(limit);
                count = self.due_from(count, high_watermark, |log, _, segment| {
                    now.0.saturating_sub(log.newest_timestamp(segment).0) > limit
                });
            }
        }
        let none = |log: &Self| (Arc::clone(&log.log_dir), log.dir.clone());
        if count == 0 {
            let (log_dir, dir) = none(self);
            return Ok(RetiredSegments {
                log_dir,
                dir,
                bases: Vec::new(),
                bytes: 0,
            });
        }
        if count == self.segments.len() {
            self.roll(now)?;
        }
        let (log_dir, dir) = none(self);
        let retired: Vec<Segment> = self.segments.drain(..count).collect();
        let first = self.segments.first().map_or(self.log_end, |segment| segment.base);
        self.move_log_start(self.log_start.max(first));
        let bytes = retired.iter().map(|segment| segment.size).sum();
        Ok(RetiredSegments {
            log_dir,
            dir,
            bases: retired.iter().map(|segment| segment.base).collect(),
            bytes,
        })
    }

    /// Index of the first segment from `from` on that must stay.
    fn due_from(
        &self,
        from: usize,
        high_watermark: Offset,
        mut due: impl FnMut(&Self, usize, &Segment) -> bool,
    ) -> usize {
        let mut at = from;
        while let Some(segment) = self.segments.get(at) {
            let next = self.segments.get(at + 1);
            let end = next.map_or(self.log_end, |next| next.base);
            let empty_active = next.is_none() && segment.size == 0;
            if end > high_watermark || empty_active || !due(self, at, segment) {
                break;
            }
            at += 1;
        }
        at
    }

    /// The largest timestamp of a segment; without one, when its file was last written.
    fn newest_timestamp(&self, segment: &Segment) -> TimestampMs {
        if let Some(largest) = segment.largest() {
            return TimestampMs(largest.timestamp);
        }
        let written = segment
            .file(self.files(segment))
            .ok()
            .and_then(|file| file.metadata().ok()?.modified().ok());
        let since_epoch = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        since_epoch.map_or(segment.created, |age| TimestampMs(millis(age)))
    }
}
