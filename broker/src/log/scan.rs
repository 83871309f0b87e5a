//! Walks over the batches of a segment's file: by their headers only, or reading all bytes to check the checksums.

use std::fs::File;
use std::io;

use crc_fast::{CrcAlgorithm, Digest};
use highwater_proto::record::{BATCH_OVERHEAD, BatchHeader, CRC_START, HeaderError};

use crate::log::files::read_at;
use crate::log::fill::FILLER;

/// Bytes read at once when only headers matter: a page, so that small batches share one read.
const HEADER_WINDOW: usize = 4096;
/// Bytes read at once when everything is read.
const BODY_WINDOW: usize = 256 * 1024;

/// A walk over `file` from a batch's first byte up to `end`.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
    window_size: usize,
}

/// What stands at a position of a segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A batch that lies whole inside the range. Its checksum has not been looked at.
    Batch(BatchHeader),
    /// Nothing: the range ends here, after a whole batch.
    End,
    /// A batch that goes on beyond the end of the range; without a header if not even that is whole.
    Torn(Option<BatchHeader>),
    /// Bytes that are no batch.
    Bad(String),
}

impl<'a> Scan<'a> {
    /// A walk by headers.
    pub(super) fn headers(file: &'a File, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            window: Vec::new(),
            window_start: 0,
            window_size: HEADER_WINDOW,
        }
    }

    /// A walk whose batches are going to be checked with [`Self::crc_matches`].
    pub(super) fn bodies(file: &'a File, position: u64, end: u64) -> Self {
        Self {
            window_size: BODY_WINDOW,
            ..Self::headers(file, position, end)
        }
    }

    /// Where the walk stands: the first byte of the next batch.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The batch at the current position. Does not move.
    pub(super) fn peek(&mut self) -> io::Result<Found> {
        let left = self.end.saturating_sub(self.position);
        if left == 0 {
            return Ok(Found::End);
        }
        let wanted = left.min(BATCH_OVERHEAD as u64) as usize;
        let parsed = BatchHeader::parse(self.bytes(self.position, wanted)?);
        Ok(match parsed {
            Ok(header) if header.size() as u64 > left => Found::Torn(Some(header)),
            Ok(header) => match implausible(&header) {
                Some(reason) => Found::Bad(reason.to_owned()),
                None => Found::Batch(header),
            },
            Err(HeaderError::Truncated { .. }) => Found::Torn(None),
            Err(other) => Found::Bad(other.to_string()),
        })
    }

    /// True if nothing but filler follows, or nothing at all. Zeros are filler that did not reach the disk.
    pub(super) fn only_filler_left(&mut self) -> io::Result<bool> {
        let mut at = self.position;
        while at < self.end {
            let bytes = self.bytes(at, 4096.min((self.end - at) as usize))?;
            if bytes.is_empty() || bytes.iter().any(|byte| ![0, FILLER].contains(byte)) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Goes on behind the batch at the current position.
    pub(super) fn advance(&mut self, header: &BatchHeader) {
        self.position += header.size() as u64;
    }

    /// Compares the batch at the current position with its checksum.
    pub(super) fn crc_matches(&mut self, header: &BatchHeader) -> io::Result<bool> {
        let end = self.position + header.size() as u64;
        let mut at = self.position + CRC_START as u64;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        while at < end {
            let wanted = (end - at).min(self.window_size as u64) as usize;
            let bytes = self.bytes(at, wanted)?;
            if bytes.is_empty() {
                return Ok(false);
            }
            digest.update(bytes);
            at += bytes.len() as u64;
        }
        Ok(digest.finalize() as u32 == header.crc)
    }

    /// Up to `wanted` bytes from `position`, through the window.
    fn bytes(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let window_end = self.window_start + self.window.len() as u64;
        if position < self.window_start || position + wanted as u64 > window_end {
            let size = self
                .end
                .saturating_sub(position)
                .min(self.window_size.max(wanted) as u64) as usize;
            self.window.resize(size, 0);
            self.window_start = position;
            let read = read_at(self.file, &mut self.window, position)?;
            self.window.truncate(read);
        }
        let from = (position - self.window_start) as usize;
        Ok(&self.window[from..self.window.len().min(from + wanted)])
    }
}

/// What no batch that was appended can look like, beyond what the header's parser refuses.
fn implausible(header: &BatchHeader) -> Option<&'static str> {
    if header.base_offset.0 < 0
        || header
            .base_offset
            .0
            .checked_add(i64::from(header.last_offset_delta))
            .is_none()
    {
        return Some("the base offset is out of range");
    }
    if header.last_offset_delta < 0 {
        return Some("the last offset is below the base offset");
    }
    None
}
