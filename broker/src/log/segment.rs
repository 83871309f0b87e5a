//! One segment: a file of batches and its two sparse indexes.

use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;

use highwater_proto::record::BatchHeader;
use highwater_proto::types::{Offset, TimestampMs};

use crate::log::error::LogError;
use crate::log::files::CachedFile;
use crate::log::fill::{Fill, FillAhead};
use crate::log::index::{Index, IndexEntry, OffsetEntry, SegmentFiles, TimeEntry};
use crate::log::scan::{Found, Scan};

/// Suffix of the file that holds the batches.
pub(super) const LOG_SUFFIX: &str = "log";
/// Buffers that one `pwritev` takes.
const IOV_MAX: usize = 1024;

/// A segment. Batches go to its file at once; index entries follow in groups.
#[derive(Debug)]
pub(super) struct Segment {
    /// Offset of its first record, or of the first that will come; names the files.
    pub base: Offset,
    /// Bytes of batches. The file may be longer for a moment, never shorter.
    pub size: u64,
    /// Wall clock of its creation (of the start of the process for one that was found).
    pub created: TimestampMs,
    /// Max timestamp of its first batch, once that is known.
    pub first_timestamp: Option<TimestampMs>,
    log: CachedFile,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    largest: Option<TimeEntry>,
    time_indexed: i64,
    bytes_since_entry: u64,
    fill: FillAhead,
}

/// Files that closing a segment changed, to be flushed.
#[derive(Debug)]
pub(super) struct Finished {
    /// Its indexes.
    pub indexes: [Arc<File>; 2],
    /// Its batches, if filler was cut off behind them.
    pub cut: Option<Arc<File>>,
}

/// The batch that holds an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    /// Byte position of the batch.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
}

impl Segment {
    /// A segment without files and batches; [`Self::create`] or a recovery scan fills it.
    pub(super) fn empty(base: Offset, created: TimestampMs) -> Self {
        Self {
            base,
            size: 0,
            created,
            first_timestamp: None,
            log: CachedFile::default(),
            offsets: Index::empty(),
            times: Index::empty(),
            largest: None,
            time_indexed: -1,
            bytes_since_entry: 0,
            fill: FillAhead::default(),
        }
    }

    /// Creates the segment's file.
    pub(super) fn create(files: SegmentFiles<'_>, created: TimestampMs) -> Result<Self, LogError> {
        let segment = Self::empty(Offset(files.base), created);
        segment.log.create(files.cache, &files.path(LOG_SUFFIX))?;
        Ok(segment)
    }

    /// A segment with the indexes that are on disk; None if one is missing or cannot belong to it.
    pub(super) fn load(files: SegmentFiles<'_>, size: u64, created: TimestampMs) -> Result<Option<Self>, LogError> {
        let (Some(offsets), Some(times)) = (Index::load(files), Index::load(files)) else {
            return Ok(None);
        };
        let mut segment = Self {
            size,
            offsets,
            times,
            ..Self::empty(Offset(files.base), created)
        };
        let last = segment.offsets.last(files)?;
        let sane = last.is_none_or(|e| e.relative_offset >= 0 && e.position >= 0 && (e.position as u64) < size);
        segment.largest = segment.times.last(files)?;
        segment.time_indexed = segment.largest.map_or(-1, |entry| entry.timestamp);
        let sane = sane
            && segment
                .largest
                .is_none_or(|e| e.relative_offset >= 0 && e.timestamp >= 0);
        Ok(sane.then_some(segment))
    }

    /// The file that holds the batches.
    pub(super) fn file(&self, files: SegmentFiles<'_>) -> Result<Arc<File>, LogError> {
        self.log.get(files.cache, || files.path(LOG_SUFFIX))
    }

    /// Appends batches of which `buffers` are all the bytes, in one write if the kernel takes them.
    pub(super) fn append(
        &mut self,
        files: SegmentFiles<'_>,
        buffers: &mut [IoSlice<'_>],
        headers: &[BatchHeader],
        index_interval: u64,
    ) -> Result<Arc<File>, LogError> {
        let file = self.file(files)?;
        let size: u64 = headers.iter().map(|header| header.size() as u64).sum();
        self.fill.make_way(self.size + size);
        if let Err(error) = write_all(&file, buffers, self.size) {
            // What was written of it lies behind the end and must not look like batches after a crash. If it cannot
            // be cut now, the next append overwrites it, and recovery checks all that was not flushed.
            self.fill.end(self.size);
            let _ = file.set_len(self.size);
            return Err(LogError::io("write", files.path(LOG_SUFFIX), error));
        }
        for header in headers {
            self.note(header, index_interval);
        }
        Ok(file)
    }

    /// Takes note of the batch at the end of the segment: size, timestamps, index entries (in memory).
    pub(super) fn note(&mut self, header: &BatchHeader, index_interval: u64) {
        let relative_offset = (header.last_offset().0 - self.base.0) as i32;
        if header.max_timestamp.0 > self.largest.map_or(-1, |entry| entry.timestamp) {
            self.largest = Some(TimeEntry {
                timestamp: header.max_timestamp.0,
                relative_offset,
            });
        }
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if self.bytes_since_entry > index_interval {
            self.offsets.push(OffsetEntry {
                relative_offset,
                position: self.size as i32,
            });
            self.index_time();
            self.bytes_since_entry = 0;
        }
        self.size += header.size() as u64;
        self.bytes_since_entry += header.size() as u64;
    }

    fn index_time(&mut self) {
        if let Some(largest) = self.largest.filter(|largest| largest.timestamp > self.time_indexed) {
            self.times.push(largest);
            self.time_indexed = largest.timestamp;
        }
    }

    /// Writes index entries if enough of them wait.
    pub(super) fn spill_if_due(&mut self, files: SegmentFiles<'_>) -> Result<(), LogError> {
        if self.offsets.wants_spill() {
            self.offsets.spill(files)?;
            self.times.spill(files)?;
        }
        Ok(())
    }

    /// Completes the segment on disk, at roll and at clean shutdown: nothing behind the batches, all index entries.
    pub(super) fn finish(&mut self, files: SegmentFiles<'_>) -> Result<Finished, LogError> {
        let mut cut = None;
        if self.fill.end(self.size) {
            let file = self.file(files)?;
            file.set_len(self.size)
                .map_err(|e| LogError::io("truncate", files.path(LOG_SUFFIX), e))?;
            cut = Some(file);
        }
        self.index_time();
        let indexes = [self.offsets.open(files)?, self.times.open(files)?];
        self.offsets.shrink();
        self.times.shrink();
        Ok(Finished { indexes, cut })
    }

    /// Cuts off filler behind the batches. Returns the file if there were any, to be flushed.
    pub(super) fn trim(&mut self, files: SegmentFiles<'_>) -> Result<Option<Arc<File>>, LogError> {
        let file = self.file(files)?;
        if !self.fill.end(self.size) {
            return Ok(None);
        }
        file.set_len(self.size)
            .map_err(|e| LogError::io("truncate", files.path(LOG_SUFFIX), e))?;
        Ok(Some(file))
    }

    /// Filler that the coming flush should write ahead, if any.
    pub(super) fn plan_fill(&mut self, file: &Arc<File>, limit: u64) -> Option<Arc<Fill>> {
        self.fill.plan(file, self.size, limit)
    }

    /// Bytes of the larger index relative to what it may hold: true if no further entry fits.
    pub(super) fn index_full(&self, limit: u64) -> bool {
        self.offsets.bytes() + OffsetEntry::SIZE as u64 > limit || self.times.bytes() + TimeEntry::SIZE as u64 > limit
    }

    /// The largest timestamp and where it is; None without a timestamp.
    pub(super) fn largest(&self) -> Option<TimeEntry> {
        self.largest
    }

    /// The batch that holds `offset`, or the first one behind it; None if the segment ends before.
    pub(super) fn locate(&self, files: SegmentFiles<'_>, offset: Offset) -> Result<Option<Located>, LogError> {
        let target = offset.0 - self.base.0;
        let from = self
            .offsets
            .last_where(files, |entry| i64::from(entry.relative_offset) <= target)?;
        let file = self.file(files)?;
        let scan = Scan::headers(&file, from.map_or(0, |entry| entry.position as u64), self.size);
        find(files, scan, |header| header.last_offset() >= offset)
    }

    /// The first batch from `offset` on whose max timestamp is not below `timestamp`.
    pub(super) fn locate_time(
        &self,
        files: SegmentFiles<'_>,
        timestamp: TimestampMs,
        offset: Offset,
    ) -> Result<Option<Located>, LogError> {
        let indexed = self.times.last_where(files, |entry| entry.timestamp <= timestamp.0)?;
        let target = indexed
            .map_or(0, |entry| i64::from(entry.relative_offset))
            .max(offset.0 - self.base.0);
        let from = self
            .offsets
            .last_where(files, |entry| i64::from(entry.relative_offset) <= target)?;
        let file = self.file(files)?;
        let scan = Scan::headers(&file, from.map_or(0, |entry| entry.position as u64), self.size);
        find(files, scan, |header| {
            header.last_offset() >= offset && header.max_timestamp >= timestamp
        })
    }

    /// Where the batches from `start` on have to be cut so that they take at most `max_bytes` and end at or before
    /// offset `upper`. At least `start`.
    pub(super) fn end_position(
        &self,
        files: SegmentFiles<'_>,
        start: u64,
        max_bytes: u64,
        upper: Offset,
    ) -> Result<u64, LogError> {
        let limit = start.saturating_add(max_bytes).min(self.size);
        let visible = upper.0 - self.base.0;
        // An entry's batch may still be too far; the one before it is not, so begin there.
        let from = self.offsets.last_where(files, |entry| {
            entry.position as u64 <= limit && i64::from(entry.relative_offset) < visible
        })?;
        let from = from.map_or(start, |entry| (entry.position as u64).max(start));
        let file = self.file(files)?;
        let mut scan = Scan::headers(&file, from, self.size);
        let past = |scan: &Scan<'_>, header: &BatchHeader| {
            scan.position() + header.size() as u64 > limit || header.last_offset() >= upper
        };
        loop {
            match scan
                .peek()
                .map_err(|e| LogError::io("read", files.path(LOG_SUFFIX), e))?
            {
                Found::Batch(header) if past(&scan, &header) => return Ok(scan.position()),
                Found::Batch(header) => scan.advance(&header),
                Found::End => return Ok(scan.position()),
                other => return Err(corrupt(files, scan.position(), other)),
            }
        }
    }

    /// The last batch; None for an empty segment.
    pub(super) fn last_batch(&self, files: SegmentFiles<'_>) -> Result<Option<Located>, LogError> {
        let from = self.offsets.last(files)?.map_or(0, |entry| entry.position as u64);
        let file = self.file(files)?;
        let mut scan = Scan::headers(&file, from, self.size);
        let mut last = None;
        loop {
            match scan
                .peek()
                .map_err(|e| LogError::io("read", files.path(LOG_SUFFIX), e))?
            {
                Found::Batch(header) => {
                    last = Some(Located {
                        position: scan.position(),
                        header,
                    });
                    scan.advance(&header);
                }
                Found::End => return Ok(last),
                other => return Err(corrupt(files, scan.position(), other)),
            }
        }
    }

    /// Cuts the segment at the byte `position`, the start of a batch, and rebuilds the end of what is known of it.
    pub(super) fn truncate(&mut self, files: SegmentFiles<'_>, position: u64) -> Result<Arc<File>, LogError> {
        let file = self.file(files)?;
        self.fill.end(position);
        file.set_len(position)
            .map_err(|e| LogError::io("truncate", files.path(LOG_SUFFIX), e))?;
        self.size = position;
        self.offsets
            .truncate(files, |entry| (entry.position as u64) < position)?;
        let last = self.last_batch(files)?;
        let end = last.map_or(-1, |found| found.header.last_offset().0 - self.base.0);
        self.times
            .truncate(files, |entry| i64::from(entry.relative_offset) <= end)?;
        self.largest = self.times.last(files)?;
        self.time_indexed = self.largest.map_or(-1, |entry| entry.timestamp);
        let from = self.offsets.last(files)?.map_or(0, |entry| entry.position as u64);
        self.bytes_since_entry = position - from;
        if position == 0 {
            self.first_timestamp = None;
        }
        // Batches behind the last time entry may hold a larger timestamp.
        let after = self.largest.map_or(self.base, |entry| {
            Offset(self.base.0 + i64::from(entry.relative_offset) + 1)
        });
        let mut next = self.locate(files, after)?;
        while let Some(found) = next {
            if found.header.max_timestamp.0 > self.largest.map_or(-1, |entry| entry.timestamp) {
                let relative_offset = (found.header.last_offset().0 - self.base.0) as i32;
                self.largest = Some(TimeEntry {
                    timestamp: found.header.max_timestamp.0,
                    relative_offset,
                });
            }
            next = self.locate(files, found.header.next_offset())?;
        }
        Ok(file)
    }
}

/// The first batch of the walk that `wanted` accepts.
fn find(
    files: SegmentFiles<'_>,
    mut scan: Scan<'_>,
    wanted: impl Fn(&BatchHeader) -> bool,
) -> Result<Option<Located>, LogError> {
    loop {
        match scan
            .peek()
            .map_err(|e| LogError::io("read", files.path(LOG_SUFFIX), e))?
        {
            Found::Batch(header) if wanted(&header) => {
                return Ok(Some(Located {
                    position: scan.position(),
                    header,
                }));
            }
            Found::Batch(header) => scan.advance(&header),
            Found::End => return Ok(None),
            other => return Err(corrupt(files, scan.position(), other)),
        }
    }
}

/// The error for bytes that should be a batch and are not.
pub(super) fn corrupt(files: SegmentFiles<'_>, position: u64, found: Found) -> LogError {
    let reason = match found {
        Found::Bad(reason) => reason,
        Found::Torn(_) => "the batch goes on beyond the end of the file".to_owned(),
        Found::End | Found::Batch(_) => "the file ends too early".to_owned(),
    };
    LogError::Corrupt {
        partition: files
            .dir
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        file: format!("{:020}.{LOG_SUFFIX}", files.base),
        position,
        reason,
    }
}

/// Writes all buffers at `position`.
fn write_all(file: &File, mut buffers: &mut [IoSlice<'_>], mut position: u64) -> std::io::Result<()> {
    while !buffers.is_empty() {
        let batch = buffers.len().min(IOV_MAX);
        match rustix::io::pwritev(file, &buffers[..batch], position) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut buffers, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
impl Segment {
    /// Puts another handle in the place of the open one.
    pub(super) fn replace_file(&self, file: File) {
        self.log.replace(file);
    }
}
