//! Validation record by record, for compacted topics and for those that want another codec than the batch has.

use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::record::{
    Batch, BatchHeader, Compression, NO_TIMESTAMP, RecordIter, TimestampType, put_varint, put_varlong, read_varint,
    read_varlong, varint_size, varlong_size,
};
use highwater_proto::types::TimestampMs;

use crate::records::compression::{CompressionTarget, compress};
use crate::records::read::{ReadError, records_section};
use crate::records::rejection::{FaultKind, MAX_RECORD_FAULTS, RecordFault, Rejection};
use crate::records::validate::{ValidationRules, check_size, decompressed_limit, set_append_time};

/// Level of a codec when the topic keeps the producer's: what Kafka's clients use.
const DEFAULT_GZIP_LEVEL: i32 = -1;
const DEFAULT_LZ4_LEVEL: i32 = 9;
const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// What the walk over the records found.
struct Walk {
    max_timestamp: TimestampMs,
    dense: bool,
    /// Bytes of the largest record.
    largest: usize,
}

/// Checks every record of a batch whose header is already found good, and rebuilds the batch where it has to change.
/// Records that need no change keep their bytes.
pub(super) fn validate_records(
    batch: Batch,
    codec: Compression,
    rules: &ValidationRules,
    now: TimestampMs,
) -> Result<Batch, Rejection> {
    let section = records_section(&batch, decompressed_limit(rules.max_message_bytes))?;
    let walk = walk(&batch.header, &section, rules, now)?;
    if codec != Compression::None && walk.largest > rules.max_decompressed_record_bytes {
        return Err(Rejection::DecompressedTooLarge {
            limit: rules.max_decompressed_record_bytes,
        });
    }

    let mut header = batch.header;
    match rules.timestamp_type {
        TimestampType::CreateTime => header.max_timestamp = walk.max_timestamp,
        TimestampType::LogAppendTime => set_append_time(&mut header, now),
    }
    let target = rules.compression.unwrap_or_else(|| keep(codec));
    if walk.dense && target.codec == codec {
        if header == batch.header {
            return Ok(batch);
        }
        return Ok(Batch::seal(header, batch.records));
    }
    let section = if walk.dense {
        section
    } else {
        renumber(&header, &section)?
    };
    header.attributes = header.attributes.with_compression(target.codec);
    let rebuilt = Batch::seal(header, compress(target, &section).map_err(Rejection::Recompression)?);
    check_size(&rebuilt, rules)?;
    Ok(rebuilt)
}

fn keep(codec: Compression) -> CompressionTarget {
    let level = match codec {
        Compression::None | Compression::Snappy => 0,
        Compression::Gzip => DEFAULT_GZIP_LEVEL,
        Compression::Lz4 => DEFAULT_LZ4_LEVEL,
        Compression::Zstd => DEFAULT_ZSTD_LEVEL,
    };
    CompressionTarget { codec, level }
}

fn walk(header: &BatchHeader, section: &Bytes, rules: &ValidationRules, now: TimestampMs) -> Result<Walk, Rejection> {
    let mut walk = Walk {
        max_timestamp: NO_TIMESTAMP,
        dense: true,
        largest: 0,
    };
    let mut faults = Vec::new();
    let mut total = 0;
    for (index, record) in (0..).zip(RecordIter::new(header, section)) {
        let record = record.map_err(ReadError::from)?;
        walk.dense &= record.offset_delta == index;
        walk.largest = walk.largest.max(record.raw.len());
        walk.max_timestamp = walk.max_timestamp.max(record.timestamp);
        let fault = if rules.compacted && record.key.is_none() {
            Some(FaultKind::MissingKey)
        } else {
            rules.timestamp_fault(record.timestamp, now)
        };
        if let Some(kind) = fault {
            total += 1;
            if faults.len() < MAX_RECORD_FAULTS {
                faults.push(RecordFault { index, kind });
            }
        }
    }
    if total > 0 {
        return Err(Rejection::Records { faults, total });
    }
    Ok(walk)
}

/// Writes the records again with offset deltas 0, 1, 2 …; everything else stays.
fn renumber(header: &BatchHeader, section: &Bytes) -> Result<Bytes, Rejection> {
    let mut output = BytesMut::with_capacity(section.len());
    for (index, record) in (0..).zip(RecordIter::new(header, section)) {
        let record = record.map_err(ReadError::from)?;
        let (attributes, tail) = split_deltas(record.raw)
            .ok_or_else(|| Rejection::Malformed(format!("record {index} does not fit its batch")))?;
        let len = 1 + varlong_size(record.timestamp_delta) + varint_size(index) + tail.len();
        output.reserve(len + 5);
        put_varint(&mut output, len as i32);
        output.put_u8(attributes);
        put_varlong(&mut output, record.timestamp_delta);
        put_varint(&mut output, index);
        output.put_slice(tail);
    }
    Ok(output.freeze())
}

/// The attributes of a record, and what follows its deltas.
fn split_deltas(mut raw: &[u8]) -> Option<(u8, &[u8])> {
    read_varint(&mut raw)?;
    let (&attributes, mut rest) = raw.split_first()?;
    read_varlong(&mut rest)?;
    read_varint(&mut rest)?;
    Some((attributes, rest))
}
