//! Tests of the records module: rules one by one, codecs against another implementation, hostile input.

mod codecs;
mod hostile;
mod rules;

use bytes::Bytes;
use highwater_proto::record::{Batch, BatchBuilder, BatchHeader, Compression, RecordIter};
use highwater_proto::types::TimestampMs;

use super::{CompressionTarget, Rejection, ValidationRules, compress, records_section, take_batch, validate};

/// The time at which the tests produce.
pub(super) const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
pub(super) const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

pub(super) fn target(codec: Compression) -> CompressionTarget {
    CompressionTarget {
        codec,
        level: if codec == Compression::Gzip { -1 } else { 3 },
    }
}

/// Three records with keys, now and a little earlier.
pub(super) fn keyed() -> Batch {
    let mut builder = BatchBuilder::new();
    for i in 0..3i64 {
        let value = [b'v'; 200];
        builder
            .append(
                TimestampMs(NOW.0 - 10 * i),
                Some(b"key"),
                Some(&value),
                &[(b"h", Some(b"1")), (b"h", None)],
            )
            .expect("fits");
    }
    builder.build().expect("three records")
}

/// Records with these keys and timestamps.
pub(super) fn batch_of(records: &[(Option<&[u8]>, i64)]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (key, timestamp) in records {
        builder
            .append(TimestampMs(*timestamp), *key, Some(b"value"), &[])
            .expect("fits");
    }
    builder.build().expect("some records")
}

/// The same batch in another codec, as a client would send it.
pub(super) fn compressed(batch: &Batch, codec: Compression) -> Batch {
    let mut header = batch.header;
    header.attributes = header.attributes.with_compression(codec);
    Batch::seal(header, compress(target(codec), &batch.records).expect("compresses"))
}

/// The same batch with another header and the checksum of that.
pub(super) fn with_header(batch: &Batch, change: impl FnOnce(&mut BatchHeader)) -> Batch {
    let mut header = batch.header;
    change(&mut header);
    Batch::seal(header, batch.records.clone())
}

/// What Produce does: both steps.
pub(super) fn produce(bytes: &Bytes, rules: &ValidationRules) -> Result<Batch, Rejection> {
    validate(take_batch(Some(bytes), 13)?, rules, NOW)
}

/// Offset, timestamp, key and value of a record.
pub(super) type Content = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

pub(super) fn contents(batch: &Batch) -> Vec<Content> {
    let section = records_section(batch, 1 << 20).expect("readable");
    RecordIter::new(&batch.header, &section)
        .map(|r| r.expect("well formed"))
        .map(|r| {
            (
                r.offset.0,
                r.timestamp.0,
                r.key.map(<[u8]>::to_vec),
                r.value.map(<[u8]>::to_vec),
            )
        })
        .collect()
}
