//! The 61-byte header of a record batch.

use std::fmt;

use thiserror::Error;

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

/// Bytes of a batch before its records.
pub const BATCH_OVERHEAD: usize = 61;
/// Bytes of base offset and length, which the length field does not count.
pub const LENGTH_OVERHEAD: usize = 12;
/// Offset of the attributes in a batch: the checksum covers the batch from here to its end.
pub const CRC_START: usize = 21;
/// The only message format that is accepted or written.
pub const MAGIC: i8 = 2;
/// Producer id of a batch whose producer is not idempotent.
pub const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
/// Producer epoch of a batch whose producer is not idempotent.
pub const NO_PRODUCER_EPOCH: ProducerEpoch = ProducerEpoch(-1);
/// Base sequence of a batch whose producer is not idempotent, and of markers.
pub const NO_SEQUENCE: i32 = -1;
/// Timestamp of records that carry none.
pub const NO_TIMESTAMP: TimestampMs = TimestampMs(-1);

/// Where base offset, length, leader epoch and magic end.
const MAGIC_END: usize = 17;
/// The smallest length field that any message format can have (a record of format 0).
const MIN_LENGTH: i32 = 14;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of snappy-java ("xerial").
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The codec of the three attribute bits; None for the codes 5 to 7, which name none.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The value of the attribute bits.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The name as `compression.type` spells it, but `none` for [`Self::None`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the timestamps of a batch mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Set by the producer, per record.
    #[default]
    CreateTime,
    /// Set by the leader on append: the batch's max timestamp counts for every record.
    LogAppendTime,
}

/// The attribute bits of a batch.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION_MASK: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the records section; None if the bits name none.
    #[must_use]
    pub const fn compression(self) -> Option<Compression> {
        Compression::from_code((self.0 & Self::COMPRESSION_MASK) as u8)
    }

    /// Who set the timestamps.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// True for batches written inside a transaction, and for its markers.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// True for batches that carry markers instead of records.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// True if the base timestamp is the time from which the compactor may drop the batch's tombstones.
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same bits with this codec.
    #[must_use]
    pub const fn with_compression(self, compression: Compression) -> Self {
        Self((self.0 & !Self::COMPRESSION_MASK) | compression.code() as i16)
    }

    /// The same bits with this timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with(
            Self::LOG_APPEND_TIME,
            matches!(timestamp_type, TimestampType::LogAppendTime),
        )
    }

    /// The same bits, transactional or not.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Self {
        self.with(Self::TRANSACTIONAL, transactional)
    }

    /// The same bits, control or not.
    #[must_use]
    pub const fn with_control(self, control: bool) -> Self {
        self.with(Self::CONTROL, control)
    }

    /// The same bits, with a delete horizon or without.
    #[must_use]
    pub const fn with_delete_horizon(self, horizon: bool) -> Self {
        self.with(Self::DELETE_HORIZON, horizon)
    }

    const fn with(self, bit: i16, set: bool) -> Self {
        if set { Self(self.0 | bit) } else { Self(self.0 & !bit) }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#06x})", self.0)
    }
}

/// Why bytes are no header of a batch that we store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The bytes end before the header does (or before the batch, where a whole batch is asked for).
    #[error("the batch is cut short: {have} bytes of {need}")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed as far as is known yet.
        need: usize,
    },
    /// The length field is below what any batch has.
    #[error("batch length {0} is smaller than the minimum")]
    IllegalLength(i32),
    /// Message format 0 or 1, which Kafka 4 no longer accepts, or one that does not exist.
    #[error("message format version {0} is not supported")]
    UnsupportedMagic(i8),
}

/// The header of a batch, decoded. The magic is not kept: it is always [`MAGIC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 as producers send it.
    pub base_offset: Offset,
    /// Bytes that follow the length field: at least 49, never negative.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; -1 as producers send it.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control.
    pub attributes: Attributes,
    /// Offset of the last record, relative to the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas are relative to; the delete horizon if the attributes say so.
    pub base_timestamp: TimestampMs,
    /// Largest timestamp of the records, or the append time. As untrusted as any other field a client sends.
    pub max_timestamp: TimestampMs,
    /// The idempotent producer, or [`NO_PRODUCER_ID`].
    pub producer_id: ProducerId,
    /// Its epoch, or [`NO_PRODUCER_EPOCH`].
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, or [`NO_SEQUENCE`].
    pub base_sequence: i32,
    /// Number of records in the batch. After compaction it may be smaller than the range of offsets.
    pub record_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`; looks at nothing behind it.
    ///
    /// # Errors
    /// [`HeaderError`], tested in the order of Kafka's reader: no length, illegal length, magic, cut short.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let truncated = |need| HeaderError::Truncated {
            have: bytes.len(),
            need,
        };
        let batch_length = i32::from_be_bytes(array(bytes, 8).ok_or(truncated(LENGTH_OVERHEAD))?);
        if batch_length < MIN_LENGTH {
            return Err(HeaderError::IllegalLength(batch_length));
        }
        let magic = *bytes.get(MAGIC_END - 1).ok_or(truncated(MAGIC_END))? as i8;
        if magic != MAGIC {
            return Err(HeaderError::UnsupportedMagic(magic));
        }
        let size = LENGTH_OVERHEAD + batch_length as usize;
        if size < BATCH_OVERHEAD {
            return Err(if bytes.len() < size {
                truncated(size)
            } else {
                HeaderError::IllegalLength(batch_length)
            });
        }
        let header: &[u8; BATCH_OVERHEAD] = bytes.first_chunk().ok_or(truncated(BATCH_OVERHEAD))?;
        Ok(Self::decode(header, batch_length))
    }

    fn decode(header: &[u8; BATCH_OVERHEAD], batch_length: i32) -> Self {
        Self {
            base_offset: Offset(i64::from_be_bytes(fixed(header, 0))),
            batch_length,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(fixed(header, 12))),
            crc: u32::from_be_bytes(fixed(header, 17)),
            attributes: Attributes(i16::from_be_bytes(fixed(header, 21))),
            last_offset_delta: i32::from_be_bytes(fixed(header, 23)),
            base_timestamp: TimestampMs(i64::from_be_bytes(fixed(header, 27))),
            max_timestamp: TimestampMs(i64::from_be_bytes(fixed(header, 35))),
            producer_id: ProducerId(i64::from_be_bytes(fixed(header, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(fixed(header, 51))),
            base_sequence: i32::from_be_bytes(fixed(header, 53)),
            record_count: i32::from_be_bytes(fixed(header, 57)),
        }
    }

    /// The header as it stands on the wire and on disk.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BATCH_OVERHEAD] {
        let mut bytes = [0; BATCH_OVERHEAD];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.base_offset.0.to_be_bytes());
        put(8, &self.batch_length.to_be_bytes());
        put(12, &self.leader_epoch.0.to_be_bytes());
        put(16, &MAGIC.to_be_bytes());
        put(17, &self.crc.to_be_bytes());
        put(21, &self.attributes.0.to_be_bytes());
        put(23, &self.last_offset_delta.to_be_bytes());
        put(27, &self.base_timestamp.0.to_be_bytes());
        put(35, &self.max_timestamp.0.to_be_bytes());
        put(43, &self.producer_id.0.to_be_bytes());
        put(51, &self.producer_epoch.0.to_be_bytes());
        put(53, &self.base_sequence.to_be_bytes());
        put(57, &self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch, header and records.
    #[must_use]
    pub const fn size(&self) -> usize {
        LENGTH_OVERHEAD + self.batch_length as usize
    }

    /// Bytes of the records section.
    #[must_use]
    pub const fn records_size(&self) -> usize {
        self.size().saturating_sub(BATCH_OVERHEAD)
    }

    /// Offset of the last record (or where it was before compaction).
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.wrapping_add(self.last_offset_delta as i64))
    }

    /// Offset of the record that follows the batch.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// Sequence number of the last record; sequences go on at 0 after 2^31-1. [`NO_SEQUENCE`] without a producer.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        ((self.base_sequence as i64 + self.last_offset_delta as i64) & i32::MAX as i64) as i32
    }

    /// The codec; None if the attributes name none.
    #[must_use]
    pub const fn compression(&self) -> Option<Compression> {
        self.attributes.compression()
    }

    /// Who set the timestamps.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// True for batches of a transaction, and for its markers.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// True for batches that carry markers.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// True if the batch names an idempotent producer.
    #[must_use]
    pub const fn has_producer(&self) -> bool {
        self.producer_id.0 > NO_PRODUCER_ID.0
    }

    /// The time from which the compactor may drop the batch's tombstones, if it is set.
    #[must_use]
    pub const fn delete_horizon(&self) -> Option<TimestampMs> {
        if self.attributes.has_delete_horizon() {
            Some(self.base_timestamp)
        } else {
            None
        }
    }
}

/// Writes base offset and leader epoch into the first bytes of a batch. Both lie outside its checksum. Bytes that
/// are too few for a header stay as they are.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    if let Some(header) = batch.first_chunk_mut::<MAGIC_END>() {
        header[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
        header[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A field of the header. All offsets are constants inside it.
fn fixed<const N: usize>(header: &[u8; BATCH_OVERHEAD], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[at..at + N]);
    field
}
