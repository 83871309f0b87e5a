//! Validation of what producers send, in Kafka's order. The batch header decides; records are read only where the
//! topic is compacted or wants another codec.

use bytes::Bytes;
use highwater_proto::record::{
    Batch, BatchHeader, Compression, HeaderError, NO_TIMESTAMP, TimestampType, read_varint, read_varlong,
};
use highwater_proto::types::{Offset, TimestampMs};

use crate::records::compression::CompressionTarget;
use crate::records::deep;
use crate::records::rejection::{FaultKind, Rejection};

/// What a topic asks of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationRules {
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a record's own timestamp may be.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead it may be.
    pub after_max_ms: i64,
    /// `max.message.bytes`: largest batch, compressed as it is stored.
    pub max_message_bytes: usize,
    /// `max.decompressed.message.bytes`: largest record inside a compressed batch.
    pub max_decompressed_record_bytes: usize,
    /// Codec and level of `compression.type`; None for `producer`, which keeps what arrives.
    pub compression: Option<CompressionTarget>,
}

impl Default for ValidationRules {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            max_message_bytes: 1_048_588,
            max_decompressed_record_bytes: MAX_RECORD_BYTES,
            compression: None,
        }
    }
}

/// Default of `max.decompressed.message.bytes`, which no record reaches.
const MAX_RECORD_BYTES: usize = 2_147_483_639;
/// Records of any size of batch may decompress to this much.
const MIN_DECOMPRESSED_BYTES: usize = 64 << 20;
/// Larger batches may grow by this factor.
const MAX_DECOMPRESSED_RATIO: usize = 64;

/// How large a records section may become where batches of `max_message_bytes` are accepted, in bytes: bounds the memory
/// that validation and lookups in stored batches take, whatever else is configured.
#[must_use]
pub fn decompressed_limit(max_message_bytes: usize) -> usize {
    max_message_bytes
        .saturating_mul(MAX_DECOMPRESSED_RATIO)
        .max(MIN_DECOMPRESSED_BYTES)
}

impl ValidationRules {
    /// True if [`validate`] has to read the records of such a batch: work that grows with their size, to be done off
    /// the network workers when they are many.
    #[must_use]
    pub fn read_records_of(&self, header: &BatchHeader) -> bool {
        header.compression().is_some_and(|codec| self.need_records(codec))
    }

    /// What is wrong with this timestamp of a record or header at `now`, if anything.
    pub(super) fn timestamp_fault(&self, timestamp: TimestampMs, now: TimestampMs) -> Option<FaultKind> {
        if self.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
            return None;
        }
        let earliest = TimestampMs(now.0.saturating_sub(self.before_max_ms));
        let latest = TimestampMs(now.0.saturating_add(self.after_max_ms));
        // Compared as differences, so that the default of 2^63-1 ms also admits times before 1970.
        let age = now.0.saturating_sub(timestamp.0);
        let ahead = timestamp.0.saturating_sub(now.0);
        (age > self.before_max_ms || ahead > self.after_max_ms).then_some(FaultKind::Timestamp {
            timestamp,
            earliest,
            latest,
        })
    }

    /// True if the batch cannot be judged, or kept, by its header alone.
    fn need_records(&self, codec: Compression) -> bool {
        let bounds_records = self.max_decompressed_record_bytes < MAX_RECORD_BYTES && codec != Compression::None;
        self.compacted || bounds_records || self.compression.is_some_and(|target| target.codec != codec)
    }
}

/// Takes the one batch that Produce carries for a partition. This is what can be said without the partition, so it
/// comes before all checks that need it.
///
/// # Errors
/// [`Rejection`] without exactly one whole batch of format 2. What follows it and is no whole batch is dropped.
pub fn take_batch(records: Option<&Bytes>, produce_version: i16) -> Result<Batch, Rejection> {
    let records = records.ok_or(Rejection::NoBatch)?;
    let batch = Batch::parse(records).map_err(|error| match error {
        HeaderError::Truncated { .. } => Rejection::NoBatch,
        HeaderError::UnsupportedMagic(magic @ 0..=1) => Rejection::OldFormat(magic),
        error => Rejection::CorruptHeader(error),
    })?;
    if produce_version < 7 && batch.header.compression() == Some(Compression::Zstd) {
        return Err(Rejection::ZstdTooOld(produce_version));
    }
    match Batch::parse(&records.slice(batch.size()..)) {
        Err(HeaderError::Truncated { .. }) => Ok(batch),
        Ok(_) | Err(HeaderError::UnsupportedMagic(0..=1)) => Err(Rejection::ManyBatches),
        Err(error) => Err(Rejection::CorruptHeader(error)),
    }
}

/// Judges a batch by the rules of its topic and makes it what the log stores: stamped with the append time, in the
/// topic's codec, its max timestamp corrected, where that applies. Base offset and leader epoch are the log's to set.
/// Untouched records keep sharing the buffer they came in; the checksum is computed once, and again only for what is
/// changed.
///
/// # Errors
/// [`Rejection`]: the first thing that is wrong, in Kafka's order.
pub fn validate(mut batch: Batch, rules: &ValidationRules, now: TimestampMs) -> Result<Batch, Rejection> {
    let header = batch.header;
    if header.base_offset != Offset(0) {
        return Err(Rejection::BaseOffset(header.base_offset));
    }
    check_size(&batch, rules)?;
    let computed = batch.compute_crc();
    if computed != header.crc {
        return Err(Rejection::Checksum {
            stored: header.crc,
            computed,
        });
    }
    let codec = check_header(&header)?;
    if rules.need_records(codec) {
        return deep::validate_records(batch, codec, rules, now);
    }
    if codec == Compression::None {
        batch.header.max_timestamp = check_records(&batch)?;
    }
    if let Some(fault) = rules.timestamp_fault(batch.header.max_timestamp, now) {
        return Err(Rejection::BatchTimestamp(fault));
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        set_append_time(&mut batch.header, now);
    }
    if batch.header != header {
        batch.header.crc = batch.compute_crc();
    }
    Ok(batch)
}

pub(super) fn check_size(batch: &Batch, rules: &ValidationRules) -> Result<(), Rejection> {
    if batch.size() > rules.max_message_bytes {
        return Err(Rejection::TooLarge {
            size: batch.size(),
            limit: rules.max_message_bytes,
        });
    }
    Ok(())
}

pub(super) fn set_append_time(header: &mut BatchHeader, now: TimestampMs) {
    header.attributes = header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
    header.max_timestamp = now;
}

/// What no client may send, whatever the topic.
fn check_header(header: &BatchHeader) -> Result<Compression, Rejection> {
    if header.record_count <= 0 || i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1 {
        return Err(Rejection::OffsetRange {
            count: header.record_count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    if header.is_control() {
        return Err(Rejection::ControlBatch);
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(Rejection::Sequence {
            sequence: header.base_sequence,
            producer_id: header.producer_id.0,
        });
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Rejection::LogAppendTime);
    }
    header
        .compression()
        .ok_or(Rejection::UnknownCodec(header.attributes.0 as u8 & 7))
}

/// A record has at least attributes, two deltas, two lengths and a count of headers, one byte each.
const MIN_RECORD: usize = 6;

/// Walks the lengths and timestamps of uncompressed records, no further: as many as declared, and nothing behind them. A
/// batch that fails this would stop every consumer of the partition. Returns the largest timestamp.
fn check_records(batch: &Batch) -> Result<TimestampMs, Rejection> {
    let base_timestamp = batch.header.base_timestamp.0;
    let mut largest = NO_TIMESTAMP;
    let mut rest = &batch.records[..];
    for index in 0..batch.header.record_count {
        let (timestamp_delta, behind) =
            split_record(rest).ok_or_else(|| Rejection::Malformed(format!("record {index} does not fit its batch")))?;
        largest = largest.max(TimestampMs(base_timestamp.wrapping_add(timestamp_delta)));
        rest = behind;
    }
    if rest.is_empty() {
        return Ok(largest);
    }
    Err(Rejection::Malformed(format!(
        "{} bytes follow the last record",
        rest.len()
    )))
}

/// The timestamp delta of the first record, and what follows the record.
fn split_record(mut rest: &[u8]) -> Option<(i64, &[u8])> {
    let len = usize::try_from(read_varint(&mut rest)?).ok()?;
    let (record, behind) = rest.split_at_checked(len).filter(|_| len >= MIN_RECORD)?;
    let (_attributes, mut fields) = record.split_first()?;
    Some((read_varlong(&mut fields)?, behind))
}
