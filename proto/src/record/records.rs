//! Records inside an uncompressed records section.

use thiserror::Error;

use crate::record::header::{BatchHeader, TimestampType};
use crate::record::varint::{read_varint, read_varlong};
use crate::types::{Offset, TimestampMs};

/// Why a records section is not what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The section must be decompressed before records can be read.
    #[error("the records are compressed")]
    Compressed,
    /// The header counts fewer than no records.
    #[error("the batch declares {0} records")]
    IllegalCount(i32),
    /// A record, or a part of one, is longer than the bytes that are left, or a length is illegal.
    #[error("record {index} is malformed: {what}")]
    Malformed {
        /// Position of the record in its batch, from 0.
        index: i32,
        /// The part that does not fit.
        what: &'static str,
    },
    /// Bytes are left behind the last record.
    #[error("{0} bytes follow the last record of the batch")]
    TrailingBytes(usize),
}

/// One record. Key, value and headers are slices of the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its offset relative to the batch, as the producer wrote it.
    pub offset_delta: i32,
    /// Its timestamp; the batch's max timestamp with log append time.
    pub timestamp: TimestampMs,
    /// Its timestamp relative to the batch, as the producer wrote it.
    pub timestamp_delta: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; None is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, in order; keys may repeat.
    pub headers: RecordHeaders<'a>,
    /// The whole record with its length, to be copied as it is.
    pub raw: &'a [u8],
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Its name; UTF-8 by convention, not checked.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record: an iterator over slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    left: usize,
    bytes: &'a [u8],
}

impl<'a> RecordHeaders<'a> {
    /// How many are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left
    }

    /// True if none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Reads the headers off `body`, all of which must be well formed.
    fn parse(body: &mut &'a [u8]) -> Result<Self, &'static str> {
        let count = read_varint(body).ok_or("number of headers")?;
        // A header has two bytes at least, so a larger number is a lie.
        let left = usize::try_from(count)
            .ok()
            .filter(|&n| n <= body.len())
            .ok_or("number of headers")?;
        let start = *body;
        for _ in 0..left {
            read_header(body)?;
        }
        Ok(Self {
            left,
            bytes: &start[..start.len() - body.len()],
        })
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_header(&mut self.bytes).ok()
    }
}

fn read_header<'a>(body: &mut &'a [u8]) -> Result<RecordHeader<'a>, &'static str> {
    let key = read_nullable(body).ok_or("header key")?.ok_or("header key")?;
    let value = read_nullable(body).ok_or("header value")?;
    Ok(RecordHeader { key, value })
}

/// Bytes with a varint length in front, negative for null. The outer None means that they do not fit.
#[expect(clippy::option_option, reason = "malformed, null and present are three things")]
fn read_nullable<'a>(body: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(len) = usize::try_from(read_varint(body)?) else {
        return Some(None);
    };
    let (bytes, rest) = body.split_at_checked(len)?;
    *body = rest;
    Some(Some(bytes))
}

/// Reads the records of an uncompressed section, bounded by the section: no allocation, no panic. Ends after the
/// number of records that the header declares, or after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    section: &'a [u8],
    base_offset: Offset,
    base_timestamp: TimestampMs,
    append_time: Option<TimestampMs>,
    index: i32,
    count: i32,
    done: bool,
}

impl<'a> RecordIter<'a> {
    /// The records of `section`, which is uncompressed, whatever the header's attributes say.
    #[must_use]
    pub fn new(header: &BatchHeader, section: &'a [u8]) -> Self {
        let append_time = match header.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(header.max_timestamp),
        };
        Self {
            section,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time,
            index: 0,
            count: header.record_count,
            done: false,
        }
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let start = self.section;
        let len = read_varint(&mut self.section).ok_or("length")?;
        let len = usize::try_from(len).map_err(|_| "length")?;
        let (mut body, rest) = self.section.split_at_checked(len).ok_or("length")?;
        self.section = rest;
        // The attributes byte of a record has no bits yet.
        let (_, after) = body.split_first().ok_or("attributes")?;
        body = after;
        let timestamp_delta = read_varlong(&mut body).ok_or("timestamp delta")?;
        let offset_delta = read_varint(&mut body).ok_or("offset delta")?;
        let key = read_nullable(&mut body).ok_or("key")?;
        let value = read_nullable(&mut body).ok_or("value")?;
        let headers = RecordHeaders::parse(&mut body)?;
        if !body.is_empty() {
            return Err("bytes left behind its headers");
        }
        Ok(Record {
            offset: Offset(self.base_offset.0.wrapping_add(i64::from(offset_delta))),
            offset_delta,
            timestamp: self
                .append_time
                .unwrap_or(TimestampMs(self.base_timestamp.0.wrapping_add(timestamp_delta))),
            timestamp_delta,
            key,
            value,
            headers,
            raw: &start[..start.len() - rest.len()],
        })
    }

    fn end(&mut self) -> Option<RecordError> {
        self.done = true;
        if self.count < 0 {
            return Some(RecordError::IllegalCount(self.count));
        }
        (!self.section.is_empty()).then_some(RecordError::TrailingBytes(self.section.len()))
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index >= self.count {
            return self.end().map(Err);
        }
        let result = self.read().map_err(|what| RecordError::Malformed {
            index: self.index,
            what,
        });
        self.index += 1;
        self.done = result.is_err();
        Some(result)
    }
}
