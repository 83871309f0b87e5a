//! Reads records of stored batches, compressed or not: lookups by time, and all that looks inside a batch.

use bytes::Bytes;
use highwater_proto::record::{Batch, Compression, RecordError, RecordIter};
use highwater_proto::types::{Offset, TimestampMs};
use thiserror::Error;

use crate::records::compression::{DecompressError, decompress};

/// Why the records of a batch could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The attributes name no codec.
    #[error("compression codec {0} does not exist")]
    UnknownCodec(u8),
    /// The section is damaged or too large.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The section is not what the header says.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The uncompressed records section of a batch: read it with [`RecordIter::new`] and the batch's header. No copy if
/// the batch is not compressed.
///
/// # Errors
/// [`ReadError`] if it is damaged or larger than `limit` bytes.
pub fn records_section(batch: &Batch, limit: usize) -> Result<Bytes, ReadError> {
    match batch.header.compression() {
        None => Err(ReadError::UnknownCodec(batch.header.attributes.0 as u8 & 7)),
        Some(Compression::None) => Ok(batch.records.clone()),
        Some(codec) => Ok(decompress(codec, &batch.records, limit)?),
    }
}

/// The first record at or behind `start` whose timestamp is at least `target`: its offset and timestamp. `limit`
/// bounds the decompressed size.
///
/// # Errors
/// [`ReadError`] if the records cannot be read up to it.
pub fn first_at_or_after(
    batch: &Batch,
    target: TimestampMs,
    start: Offset,
    limit: usize,
) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
    let section = records_section(batch, limit)?;
    for record in RecordIter::new(&batch.header, &section) {
        let record = record?;
        if record.offset >= start && record.timestamp >= target {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record at or behind `start` that has the largest timestamp of those: its offset and timestamp. `limit`
/// bounds the decompressed size.
///
/// # Errors
/// [`ReadError`] if the records cannot be read.
pub fn first_of_max_timestamp(
    batch: &Batch,
    start: Offset,
    limit: usize,
) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
    let section = records_section(batch, limit)?;
    let mut found: Option<(Offset, TimestampMs)> = None;
    for record in RecordIter::new(&batch.header, &section) {
        let record = record?;
        if record.offset >= start && found.is_none_or(|(_, max)| record.timestamp > max) {
            found = Some((record.offset, record.timestamp));
        }
    }
    Ok(found)
}
