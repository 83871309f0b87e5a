//! Reading: offsets and timestamps become ranges of files, which are sent as they are.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::record::{Batch, BatchHeader};
use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs};
use thiserror::Error;

use crate::log::error::LogError;
use crate::log::files::read_at;
use crate::log::partition_log::Log;
use crate::log::segment::Segment;

/// Whole batches, as a range of a segment's file. The range stays readable whatever happens to the log, but may only be
/// trusted below the high watermark.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The file, open for as long as this lives.
    pub file: Arc<File>,
    /// Position of the first byte.
    pub position: u64,
    /// Number of bytes.
    pub len: u64,
}

impl FileSlice {
    /// The bytes. May wait for the disk.
    ///
    /// # Errors
    /// IO errors; [`io::ErrorKind::UnexpectedEof`] if the file was cut meanwhile.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.len as usize];
        if read_at(&self.file, &mut bytes, self.position)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.into())
    }

    /// Reads what is in memory at `from` bytes into the slice, without waiting for the disk: the bytes read, or
    /// [`io::ErrorKind::WouldBlock`] if none are in memory.
    ///
    /// # Errors
    /// IO errors.
    pub fn read_resident(&self, from: u64, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = buf.len().min(self.len.saturating_sub(from) as usize);
        let mut bufs = [io::IoSliceMut::new(&mut buf[..wanted])];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        Ok(rustix::io::preadv2(
            &*self.file,
            &mut bufs,
            self.position + from,
            flags,
        )?)
    }

    /// True if first and last byte are in memory, which says with high probability that sending it will not wait for
    /// the disk. False also where the file system cannot tell.
    #[must_use]
    pub fn is_resident(&self) -> bool {
        let mut byte = [0];
        self.len == 0
            || [0, self.len - 1]
                .iter()
                .all(|from| self.read_resident(*from, &mut byte).is_ok_and(|read| read == 1))
    }
}

/// Reads the records of a batch, which may be compressed: knowledge that the log does not have.
pub trait BatchRecords {
    /// Calls `visit` with offset and timestamp of each record in order, until it returns false.
    ///
    /// # Errors
    /// [`UnreadableRecords`]
    fn visit(&self, batch: &Batch, visit: &mut dyn FnMut(Offset, TimestampMs) -> bool)
    -> Result<(), UnreadableRecords>;
}

/// Why the records of a batch could not be read to their end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnreadableRecords {
    /// They are not what the header says.
    #[error("{0}")]
    Malformed(String),
    /// They take more memory than a look-up may.
    #[error("the records are too large to be looked into")]
    TooLarge,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// Leader epoch of its batch.
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// The batches from the one that holds `offset` on: at most `max_bytes`, all records below `upper_bound` (high
    /// watermark, last stable offset or log end), from one segment. With `at_least_one` the first batch comes even if
    /// it is larger. None if there is nothing to read.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::Corrupt`], [`LogError::Io`].
    pub fn read(
        &self,
        offset: Offset,
        max_bytes: u64,
        upper_bound: Offset,
        at_least_one: bool,
    ) -> Result<Option<FileSlice>, LogError> {
        if offset < self.log_start || offset > self.log_end {
            return Err(self.out_of_range(offset));
        }
        if offset >= upper_bound.min(self.log_end) {
            return Ok(None);
        }
        for at in self.segment_at(offset)..self.segments.len() {
            let segment = &self.segments[at];
            let files = self.files(segment);
            let Some(found) = segment.locate(files, offset)? else {
                continue;
            };
            if found.header.last_offset() >= upper_bound {
                return Ok(None);
            }
            let segment_end = self.segments.get(at + 1).map_or(self.log_end, |next| next.base);
            let mut end = if upper_bound >= segment_end && found.position.saturating_add(max_bytes) >= segment.size {
                segment.size
            } else {
                segment.end_position(files, found.position, max_bytes, upper_bound)?
            };
            if end == found.position && at_least_one {
                end += found.header.size() as u64;
            }
            let slice = FileSlice {
                file: segment.file(files)?,
                position: found.position,
                len: end - found.position,
            };
            return Ok((slice.len > 0).then_some(slice));
        }
        Ok(None)
    }

    /// The first record at or above `timestamp` and the log start (ListOffsets by time). None if there is none. May
    /// read a batch from disk.
    ///
    /// # Errors
    /// [`LogError::Records`] if a batch cannot be read, [`LogError::Corrupt`], [`LogError::Io`].
    pub fn offset_for_timestamp(
        &self,
        timestamp: TimestampMs,
        records: &dyn BatchRecords,
    ) -> Result<Option<TimestampOffset>, LogError> {
        let mut from = self.log_start;
        while let Some((header, slice)) = self.batch_for_timestamp(timestamp, from)? {
            if let Some(found) = find_record(&header, &slice, timestamp, self.log_start, records)? {
                return Ok(Some(found));
            }
            from = header.next_offset();
        }
        Ok(None)
    }

    /// The first batch from offset `from` on whose max timestamp is not below `timestamp`. With this a caller can read
    /// the records without holding the partition's lock; if none matches (records below the log start), it goes on
    /// behind the batch.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::Io`].
    pub fn batch_for_timestamp(
        &self,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<(BatchHeader, FileSlice)>, LogError> {
        let from = from.max(self.log_start);
        for segment in &self.segments[self.segment_at(from).min(self.segments.len())..] {
            if segment.largest().is_none_or(|largest| largest.timestamp < timestamp.0) {
                continue;
            }
            let files = self.files(segment);
            if let Some(found) = segment.locate_time(files, timestamp, from)? {
                let len = found.header.size() as u64;
                return Ok(Some((
                    found.header,
                    FileSlice {
                        file: segment.file(files)?,
                        position: found.position,
                        len,
                    },
                )));
            }
        }
        Ok(None)
    }

    /// The largest timestamp that the headers claim. None without timestamps. Records below the log start count until
    /// their segment is removed.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<TimestampMs> {
        self.segments
            .iter()
            .filter_map(Segment::largest)
            .map(|largest| TimestampMs(largest.timestamp))
            .max()
    }

    /// Header of the batch that holds `offset`.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::Io`].
    pub fn batch_at(&self, offset: Offset) -> Result<Option<BatchHeader>, LogError> {
        for segment in &self.segments[self.segment_at(offset).min(self.segments.len())..] {
            if let Some(found) = segment.locate(self.files(segment), offset)? {
                return Ok(Some(found.header));
            }
        }
        Ok(None)
    }

    /// Index of the segment in which `offset` lies, or 0 if it lies below all.
    pub(super) fn segment_at(&self, offset: Offset) -> usize {
        self.segments
            .partition_point(|segment| segment.base <= offset)
            .saturating_sub(1)
    }

    pub(super) fn out_of_range(&self, offset: Offset) -> LogError {
        LogError::OffsetOutOfRange {
            offset,
            log_start: self.log_start,
            log_end: self.log_end,
        }
    }
}

/// The first record of the batch that is at or above both.
///
/// # Errors
/// [`LogError::Records`] if the batch is not what was appended.
pub fn find_record(
    header: &BatchHeader,
    slice: &FileSlice,
    timestamp: TimestampMs,
    log_start: Offset,
    records: &dyn BatchRecords,
) -> Result<Option<TimestampOffset>, LogError> {
    let mut found = None;
    visit_records(header, slice, log_start, records, &mut |offset, record_timestamp| {
        if record_timestamp >= timestamp {
            found = Some(TimestampOffset {
                offset,
                timestamp: record_timestamp,
                leader_epoch: header.leader_epoch,
            });
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Calls `visit` for the records from `log_start` on. What is in a compressed batch is its producer's affair, so one that
/// cannot be read must not stand in the way of the others: its records do not exist for a look-up, as they do not for
/// consumers; and one that is only too large to be read here counts as its first record, with the timestamp that the
/// header claims.
pub(super) fn visit_records(
    header: &BatchHeader,
    slice: &FileSlice,
    log_start: Offset,
    records: &dyn BatchRecords,
    visit: &mut dyn FnMut(Offset, TimestampMs) -> bool,
) -> Result<(), LogError> {
    let failed = |reason| LogError::Records {
        offset: header.base_offset,
        reason,
    };
    let bytes = slice.to_bytes().map_err(|e| failed(e.to_string()))?;
    let batch = Batch::parse(&bytes).map_err(|e| failed(e.to_string()))?;
    let mut from_start = |offset, timestamp| offset < log_start || visit(offset, timestamp);
    match records.visit(&batch, &mut from_start) {
        Ok(()) => Ok(()),
        Err(UnreadableRecords::TooLarge) => {
            visit(header.base_offset.max(log_start), header.max_timestamp);
            Ok(())
        }
        Err(UnreadableRecords::Malformed(reason)) if batch.verify_crc() => {
            tracing::debug!(offset = %header.base_offset, reason, "a batch cannot be read; a look-up passes over it");
            Ok(())
        }
        Err(malformed) => Err(failed(malformed.to_string())),
    }
}
