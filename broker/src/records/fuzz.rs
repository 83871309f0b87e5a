//! Bodies of the fuzz targets: plain functions over arbitrary bytes, also run over mutated batches by the tests.

use bytes::Bytes;
use highwater_proto::record::{Compression, RecordIter, TimestampType};
use highwater_proto::types::{Offset, TimestampMs};

use crate::records::compression::{CompressionTarget, decompress};
use crate::records::read::{first_at_or_after, first_of_max_timestamp, records_section};
use crate::records::validate::{ValidationRules, decompressed_limit, take_batch, validate};

/// Bound on decompressed output in the fuzz bodies, bytes.
const LIMIT: usize = 1 << 20;

/// Validates arbitrary bytes as a produced batch under every kind of rules. What is accepted must be readable as far
/// as it was looked at, and must be accepted again.
///
/// # Panics
/// If one of these does not hold: that is a finding.
#[doc(hidden)]
pub fn fuzz_validate(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let now = TimestampMs(1_700_000_000_000);
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    let targets = codecs
        .map(|codec| Some(CompressionTarget { codec, level: 1 }))
        .into_iter()
        .chain([None]);
    let Ok(mut batch) = take_batch(Some(&bytes), 13) else {
        return;
    };
    // A fuzzer does not guess checksums.
    batch.header.crc = batch.compute_crc();
    for compression in targets {
        for (compacted, timestamp_type) in [(false, TimestampType::CreateTime), (true, TimestampType::LogAppendTime)] {
            let rules = ValidationRules {
                compacted,
                timestamp_type,
                compression,
                ..Default::default()
            };
            let Ok(accepted) = validate(batch.clone(), &rules, now) else {
                continue;
            };
            assert!(accepted.verify_crc(), "an accepted batch has a wrong checksum");
            assert_eq!(
                accepted.header.record_count, batch.header.record_count,
                "records were lost"
            );
            let deep = compacted || compression.is_some_and(|t| Some(t.codec) != batch.header.compression());
            if deep && let Ok(section) = records_section(&accepted, 2 * decompressed_limit(rules.max_message_bytes)) {
                let offsets = RecordIter::new(&accepted.header, &section).map(|r| r.ok().map(|r| r.offset_delta));
                let dense = (0..accepted.header.record_count).map(Some);
                assert!(offsets.eq(dense), "an accepted batch has gaps or bad records");
            }
        }
    }
    let _ = first_at_or_after(&batch, now, Offset(0), LIMIT);
    let _ = first_of_max_timestamp(&batch, Offset(0), LIMIT);
}

/// Decompresses arbitrary bytes with every codec.
///
/// # Panics
/// If the output is larger than the limit: that is a finding.
#[doc(hidden)]
pub fn fuzz_decompress(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        if let Ok(output) = decompress(codec, &bytes, LIMIT) {
            assert!(output.len() <= LIMIT, "{codec} gave more than the limit");
        }
    }
}
