//! Codecs and records against another implementation of both, in both directions.

use bytes::{Bytes, BytesMut};
use highwater_proto::record::{Batch, Compression, RecordIter};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as OracleCompression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};

use super::{CODECS, NOW, compressed, contents, keyed, produce, target};
use crate::records::{DecompressError, ValidationRules, compress, decompress, records_section};

fn oracle_codec(codec: Compression) -> OracleCompression {
    match codec {
        Compression::None => OracleCompression::None,
        Compression::Gzip => OracleCompression::Gzip,
        Compression::Snappy => OracleCompression::Snappy,
        Compression::Lz4 => OracleCompression::Lz4,
        Compression::Zstd => OracleCompression::Zstd,
    }
}

/// Records with and without key, value and headers, some too large for one block of any codec.
fn oracle_records() -> Vec<Record> {
    let value = |i: i64| match i % 4 {
        0 => None,
        1 => Some(Bytes::new()),
        2 => Some(Bytes::from(vec![i as u8; 70_000])),
        _ => Some(
            (0..40_000u32)
                .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
                .collect(),
        ),
    };
    let header = |name: &str, value: Option<Bytes>| (StrBytes::from_string(name.to_owned()), value);
    (0..9)
        .map(|i| Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: 4_000,
            producer_epoch: 2,
            timestamp_type: TimestampType::Creation,
            offset: i,
            sequence: 10 + i as i32,
            timestamp: NOW.0 - 40 * (i % 3),
            key: (i % 2 == 0).then(|| Bytes::from(format!("key {i}"))),
            value: value(i),
            headers: IndexMap::from([header("a", Some(Bytes::from_static(b"1"))), header("b", None)]),
        })
        .collect()
}

fn oracle_bytes(codec: Compression) -> Bytes {
    let mut buf = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: oracle_codec(codec),
    };
    RecordBatchEncoder::encode(&mut buf, &oracle_records(), &options).expect("the oracle encodes");
    buf.freeze()
}

fn assert_reads_like_the_oracle(batch: &Batch) {
    let expected = oracle_records();
    let section = records_section(batch, 4 << 20).expect("readable");
    let mut count = 0;
    for (record, expected) in RecordIter::new(&batch.header, &section).zip(&expected) {
        let record = record.expect("well formed");
        assert_eq!(
            (record.offset.0, record.timestamp.0),
            (expected.offset, expected.timestamp)
        );
        assert_eq!(
            (record.key, record.value),
            (expected.key.as_deref(), expected.value.as_deref())
        );
        let headers: Vec<_> = record.headers.map(|h| (h.key, h.value)).collect();
        assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (b"b", None)]);
        count += 1;
    }
    assert_eq!(count, expected.len());
}

#[test]
fn we_read_what_the_oracle_writes_with_every_codec() {
    for codec in CODECS {
        let batch = produce(&oracle_bytes(codec), &ValidationRules::default()).expect("good");
        assert_eq!(
            (batch.header.producer_id.0, batch.header.base_sequence),
            (4_000, 10),
            "{codec}"
        );
        assert_eq!(batch.header.compression(), Some(codec));
        assert_reads_like_the_oracle(&batch);
    }
}

#[test]
fn the_oracle_reads_what_we_recompress_with_every_codec() {
    for from in CODECS {
        for to in CODECS {
            let rules = ValidationRules {
                compression: Some(target(to)),
                ..ValidationRules::default()
            };
            let batch = produce(&oracle_bytes(from), &rules).expect("good");
            let mut bytes = batch.to_bytes();
            let set = RecordBatchDecoder::decode(&mut bytes).expect("the oracle decodes");
            assert_eq!(set.compression, oracle_codec(to), "{from} to {to}");
            assert_eq!(set.records, oracle_records(), "{from} to {to}");
        }
    }
}

#[test]
fn uncompressed_batches_of_the_builder_are_the_oracles() {
    let mut bytes = keyed().to_bytes();
    let set = RecordBatchDecoder::decode(&mut bytes).expect("the oracle decodes");
    let theirs: Vec<_> = set
        .records
        .iter()
        .map(|r| {
            (
                r.offset,
                r.timestamp,
                r.key.as_ref().map(|k| k.to_vec()),
                r.value.as_ref().map(|v| v.to_vec()),
            )
        })
        .collect();
    assert_eq!(theirs, contents(&keyed()));
}

#[test]
fn snappy_is_read_raw_framed_and_joined() {
    let text = Bytes::from_static(b"snappy as librdkafka and snappy-java send it, again and again and again");
    let raw = Bytes::from(snap::raw::Encoder::new().compress_vec(&text).expect("compresses"));
    assert_eq!(decompress(Compression::Snappy, &raw, 1_000), Ok(text.clone()));
    let framed = compress(target(Compression::Snappy), &text).expect("compresses");
    assert_eq!(&framed[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let joined = Bytes::from([&framed[..], &framed[..]].concat());
    let twice = [&text[..], &text[..]].concat();
    assert_eq!(
        decompress(Compression::Snappy, &joined, 1_000).as_deref(),
        Ok(&twice[..])
    );
}

#[test]
fn lz4_frames_have_independent_blocks_and_no_content_checksum() {
    let framed = compress(target(Compression::Lz4), &keyed().records).expect("compresses");
    assert_eq!(framed[..4], 0x184d_2204u32.to_le_bytes());
    let (version, independent, block_checksum, content_size, content_checksum) = (
        framed[4] >> 6,
        framed[4] & 0x20,
        framed[4] & 0x10,
        framed[4] & 8,
        framed[4] & 4,
    );
    assert_eq!(
        (version, independent, block_checksum, content_size, content_checksum),
        (1, 0x20, 0, 0, 0)
    );
    assert_eq!(framed[5] >> 4, 4, "blocks of 64 KiB");
}

#[test]
fn levels_are_obeyed() {
    let text: Bytes = (0..60_000u32)
        .flat_map(|n| (n.wrapping_mul(n) >> 9).to_string().into_bytes())
        .collect();
    let size = |codec, level| {
        let output = compress(super::CompressionTarget { codec, level }, &text).expect("compresses");
        assert_eq!(decompress(codec, &output, text.len()).as_ref(), Ok(&text));
        output.len()
    };
    assert!(size(Compression::Gzip, 9) < size(Compression::Gzip, 1));
    assert_eq!(size(Compression::Gzip, -1), size(Compression::Gzip, 6));
    assert!(size(Compression::Zstd, 19) < size(Compression::Zstd, 3));
    assert!(size(Compression::Zstd, 3) < size(Compression::Zstd, -1000));
}

#[test]
fn an_empty_section_survives_every_codec() {
    for codec in CODECS {
        let output = compress(target(codec), &Bytes::new()).expect("compresses");
        assert_eq!(decompress(codec, &output, 0), Ok(Bytes::new()), "{codec}");
    }
}

#[test]
fn the_limit_is_exact_for_every_codec() {
    let batch = keyed();
    let size = batch.records.len();
    for codec in CODECS {
        let records = compressed(&batch, codec).records;
        assert_eq!(
            decompress(codec, &records, size).as_ref(),
            Ok(&batch.records),
            "{codec}"
        );
        assert_eq!(
            decompress(codec, &records, size - 1),
            Err(DecompressError::TooLarge { limit: size - 1 }),
            "{codec}"
        );
    }
}
