use bytes::Bytes;

use super::*;
use crate::types::{CoordinatorEpoch, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

fn sample() -> Batch {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(7))
        .leader_epoch(LeaderEpoch(3))
        .producer(ProducerId(1001), ProducerEpoch(2), 40);
    builder
        .append(
            TimestampMs(100),
            Some(b"k"),
            Some(b"v"),
            &[(b"h", Some(b"1")), (b"h", None)],
        )
        .expect("fits");
    builder.append(TimestampMs(90), None, None, &[]).expect("fits");
    builder
        .append(TimestampMs(170), Some(b""), Some(&[0; 300]), &[])
        .expect("fits");
    builder.build().expect("three records")
}

#[test]
fn crc32c_vector_of_rfc_3720() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    for cut in 0..=9 {
        let (head, tail) = b"123456789".split_at(cut);
        assert_eq!(crc32c_joined(head, tail), 0xe306_9283);
    }
}

#[test]
fn varints_are_those_of_protocol_buffers() {
    let known: [(i32, &[u8]); 8] = [
        (0, &[0]),
        (-1, &[1]),
        (1, &[2]),
        (63, &[0x7e]),
        (-64, &[0x7f]),
        (64, &[0x80, 0x01]),
        (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (value, bytes) in known {
        let mut buf = Vec::new();
        put_varint(&mut buf, value);
        assert_eq!((buf.as_slice(), varint_size(value)), (bytes, bytes.len()));
        assert_eq!(read_varint(&mut &buf[..]), Some(value));
        buf.clear();
        put_varlong(&mut buf, i64::from(value));
        assert_eq!((buf.as_slice(), varlong_size(i64::from(value))), (bytes, bytes.len()));
    }
    for shift in 0..64 {
        for value in [
            1i64 << shift,
            (1i64 << shift).wrapping_neg(),
            (1i64 << shift).wrapping_sub(1),
            i64::MIN,
        ] {
            let mut buf = Vec::new();
            put_varlong(&mut buf, value);
            buf.push(9);
            let mut rest = &buf[..];
            assert_eq!(read_varlong(&mut rest), Some(value));
            assert_eq!((rest, varlong_size(value)), (&[9u8][..], buf.len() - 1));
        }
    }
    assert_eq!(
        read_varint(&mut &[0x80u8, 0x80, 0x80, 0x80, 0x80, 0x01][..]),
        None,
        "six bytes"
    );
    assert_eq!(read_varint(&mut &[0xffu8, 0xff][..]), None, "cut short");
    assert_eq!(read_varlong(&mut &[0xffu8; 11][..]), None, "eleven bytes");
}

#[test]
fn a_header_survives_its_bytes() {
    let header = sample().header;
    assert_eq!(BatchHeader::parse(&header.to_bytes()), Ok(header));
    assert_eq!(header.record_count, 3);
    assert_eq!((header.last_offset(), header.next_offset()), (Offset(9), Offset(10)));
    assert_eq!(
        (header.base_timestamp, header.max_timestamp),
        (TimestampMs(100), TimestampMs(170))
    );
    assert_eq!(header.last_sequence(), 42);
    let wrapped = BatchHeader {
        base_sequence: i32::MAX - 1,
        ..header
    };
    assert_eq!(wrapped.last_sequence(), 0, "sequences go on at 0 after 2^31-1");
}

#[test]
fn header_errors_come_in_the_order_of_kafkas_reader() {
    let good = sample().to_bytes();
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[at..at + field.len()].copy_from_slice(field);
        Batch::parse(&Bytes::from(bytes)).map(|b| b.size())
    };
    assert_eq!(with(8, &13i32.to_be_bytes()), Err(HeaderError::IllegalLength(13)));
    assert_eq!(with(8, &(-1i32).to_be_bytes()), Err(HeaderError::IllegalLength(-1)));
    assert_eq!(with(8, &48i32.to_be_bytes()), Err(HeaderError::IllegalLength(48)));
    assert_eq!(with(16, &[1]), Err(HeaderError::UnsupportedMagic(1)));
    assert_eq!(with(16, &[0xff]), Err(HeaderError::UnsupportedMagic(-1)));
    let need = i32::MAX as usize + LENGTH_OVERHEAD;
    assert_eq!(
        with(8, &i32::MAX.to_be_bytes()),
        Err(HeaderError::Truncated { have: good.len(), need })
    );
    for len in 0..good.len() {
        let error = Batch::parse(&good.slice(..len)).expect_err("cut short");
        assert!(
            matches!(error, HeaderError::Truncated { have, need } if have == len && need > len),
            "{len}: {error}"
        );
    }
}

#[test]
fn attribute_bits_are_kafkas() {
    let bits = Attributes(0)
        .with_compression(Compression::Zstd)
        .with_timestamp_type(TimestampType::LogAppendTime)
        .with_transactional(true)
        .with_control(true)
        .with_delete_horizon(true);
    assert_eq!(bits, Attributes(0x7c));
    assert_eq!(
        bits.with_compression(Compression::Gzip).with_control(false),
        Attributes(0x59)
    );
    assert_eq!(Attributes(5).compression(), None);
    assert!(bits.is_control() && bits.is_transactional() && bits.has_delete_horizon());
    assert_eq!(
        BatchHeader {
            attributes: bits,
            ..sample().header
        }
        .delete_horizon(),
        Some(TimestampMs(100))
    );
}

#[test]
fn stamping_leaves_the_checksum_valid() {
    let mut bytes = sample().to_bytes().to_vec();
    stamp(&mut bytes, Offset(123_456), LeaderEpoch(99));
    let batch = Batch::parse(&Bytes::from(bytes)).expect("a batch");
    assert_eq!(
        (batch.header.base_offset, batch.header.leader_epoch),
        (Offset(123_456), LeaderEpoch(99))
    );
    assert!(batch.verify_crc());
    stamp(&mut [0; 16], Offset(1), LeaderEpoch(1));
}

#[test]
fn the_checksum_covers_attributes_to_end() {
    let good = sample().to_bytes();
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x10;
        // A shorter length changes what the checksum covers; the fields in between are the broker's own.
        let covered = at >= 17 || (8..12).contains(&at);
        if let Ok(batch) = Batch::parse(&Bytes::from(bytes)) {
            assert_eq!(batch.verify_crc(), !covered, "byte {at}");
        }
    }
}

#[test]
fn batches_stop_before_a_cut_batch_and_at_an_error() {
    let one = sample().to_bytes();
    let mut bytes = [&one[..], &one[..], &one[..70]].concat();
    let mut batches = Batches::new(Bytes::from(bytes.clone()));
    assert_eq!(batches.by_ref().filter(Result::is_ok).count(), 2);
    assert_eq!(batches.rest(), &one[..70]);
    bytes[one.len() + 16] = 1;
    let found: Vec<_> = Batches::new(Bytes::from(bytes)).map(|b| b.map(|b| b.size())).collect();
    assert_eq!(found, [Ok(one.len()), Err(HeaderError::UnsupportedMagic(1))]);
}

#[test]
fn records_are_slices_and_duplicate_header_keys_stay() {
    let batch = sample();
    let records: Vec<_> = batch
        .iter()
        .expect("uncompressed")
        .collect::<Result<_, _>>()
        .expect("well formed");
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].offset, Offset(7));
    assert_eq!((records[0].key, records[0].value), (Some(&b"k"[..]), Some(&b"v"[..])));
    let headers: Vec<_> = records[0].headers.collect();
    assert_eq!(
        headers,
        [
            RecordHeader {
                key: b"h",
                value: Some(b"1")
            },
            RecordHeader { key: b"h", value: None }
        ]
    );
    assert_eq!(
        (records[1].timestamp, records[1].timestamp_delta),
        (TimestampMs(90), -10)
    );
    assert_eq!((records[1].key, records[1].value), (None, None));
    assert_eq!((records[2].key, records[2].offset), (Some(&b""[..]), Offset(9)));
    let raw: Vec<u8> = records.iter().flat_map(|r| r.raw.iter().copied()).collect();
    assert_eq!(raw, batch.records, "raw records copy as they are");
}

#[test]
fn log_append_time_counts_for_every_record() {
    let mut batch = sample();
    batch.header.attributes = batch
        .header
        .attributes
        .with_timestamp_type(TimestampType::LogAppendTime);
    batch.header.max_timestamp = TimestampMs(5_000);
    assert!(
        batch
            .iter()
            .expect("uncompressed")
            .all(|r| r.expect("well formed").timestamp == TimestampMs(5_000))
    );
}

#[test]
fn a_section_that_disagrees_with_its_header_is_an_error() {
    let batch = sample();
    let error = |count: i32, section: &[u8]| {
        let header = BatchHeader {
            record_count: count,
            ..batch.header
        };
        RecordIter::new(&header, section).find_map(Result::err)
    };
    assert_eq!(error(3, &batch.records), None);
    assert_eq!(
        error(4, &batch.records),
        Some(RecordError::Malformed {
            index: 3,
            what: "length"
        })
    );
    assert!(matches!(error(2, &batch.records), Some(RecordError::TrailingBytes(n)) if n > 300));
    assert_eq!(error(-1, &batch.records), Some(RecordError::IllegalCount(-1)));
    for len in 0..batch.records.len() {
        assert!(error(3, &batch.records[..len]).is_some(), "cut at {len}");
    }
    // Length 7, no key, no value, and more headers than bytes.
    assert_eq!(
        error(1, &[14, 0, 0, 0, 1, 1, 0xfe, 0x7f]),
        Some(RecordError::Malformed {
            index: 0,
            what: "number of headers"
        })
    );
}

#[test]
fn markers_are_those_of_kafka() {
    let marker = EndTxnMarker {
        result: TxnResult::Commit,
        coordinator_epoch: CoordinatorEpoch(0x0102_0304),
    };
    let batch = BatchBuilder::end_txn(marker, ProducerId(5), ProducerEpoch(6), TimestampMs(1_000));
    assert!(batch.verify_crc());
    assert_eq!(batch.header.attributes, Attributes(0x30));
    assert_eq!(
        (batch.header.base_sequence, batch.header.last_sequence()),
        (NO_SEQUENCE, NO_SEQUENCE)
    );
    let record = batch
        .iter()
        .expect("uncompressed")
        .next()
        .expect("one")
        .expect("well formed");
    assert_eq!(
        (record.key, record.value),
        (Some(&[0u8, 0, 0, 1][..]), Some(&[0u8, 0, 1, 2, 3, 4][..]))
    );
    assert_eq!(EndTxnMarker::parse(&record), Ok(marker));
    assert_eq!(
        EndTxnMarker::parse(&Record {
            key: Some(&[0, 0, 0, 5]),
            ..record
        }),
        Err(MarkerError::UnknownType(5))
    );
    assert_eq!(
        EndTxnMarker::parse(&Record { value: None, ..record }),
        Err(MarkerError::Malformed)
    );
}

#[test]
fn an_empty_batch_is_not_built() {
    assert_eq!(BatchBuilder::new().build().map(|b| b.size()), Err(BuildError::Empty));
    let builder = BatchBuilder::new();
    assert!(builder.size_with(Some(b"abc"), None) >= BATCH_OVERHEAD + 3);
}
