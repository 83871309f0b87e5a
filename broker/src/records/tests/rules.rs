//! Kafka's rules for produced batches, one test each.

use bytes::Bytes;
use highwater_proto::record::{Attributes, Batch, Compression, NO_TIMESTAMP, TimestampType};
use highwater_proto::types::{Offset, ProducerEpoch, ProducerId, TimestampMs};

use super::{CODECS, NOW, batch_of, compressed, contents, keyed, produce, target, with_header};
use crate::records::{
    FaultKind, MAX_RECORD_FAULTS, Rejection, ValidationRules, first_at_or_after, first_of_max_timestamp, take_batch,
};

fn rules() -> ValidationRules {
    ValidationRules::default()
}

/// Error code of producing these bytes.
fn code(bytes: impl Into<Bytes>) -> i16 {
    produce(&bytes.into(), &rules()).map_or_else(|e| e.error_code().code(), |_| 0)
}

fn code_of(batch: &Batch, rules: &ValidationRules) -> i16 {
    produce(&batch.to_bytes(), rules).map_or_else(|e| e.error_code().code(), |_| 0)
}

#[test]
fn a_good_batch_is_kept_byte_for_byte() {
    for codec in CODECS {
        let bytes = compressed(&keyed(), codec).to_bytes();
        let accepted = produce(&bytes, &rules()).expect("good");
        assert_eq!(accepted.to_bytes(), bytes, "{codec}");
        assert_eq!(
            accepted.records.as_ptr(),
            bytes[61..].as_ptr(),
            "{codec}: records are not copied"
        );
    }
}

#[test]
fn rule_1_exactly_one_whole_batch() {
    let good = keyed().to_bytes();
    assert_eq!(take_batch(None, 13), Err(Rejection::NoBatch));
    assert_eq!(code(Bytes::new()), 87);
    assert_eq!(code(good.slice(..good.len() - 1)), 87, "cut short");
    assert_eq!(code([&good[..], &good[..]].concat()), 87, "two batches");
    assert_eq!(code([&good[..], &good[..80]].concat()), 0, "trailing bytes are dropped");
    let magic = |magic: i8| {
        let mut bytes = good.to_vec();
        bytes[16] = magic as u8;
        code(bytes)
    };
    assert_eq!([magic(0), magic(1), magic(-1), magic(3)], [87, 87, 2, 2]);
}

#[test]
fn rule_2_zstd_needs_produce_7() {
    let batch = compressed(&keyed(), Compression::Zstd).to_bytes();
    let refused = take_batch(Some(&batch), 6).expect_err("too old");
    assert_eq!(refused.error_code().code(), 76);
    assert!(take_batch(Some(&batch), 7).is_ok());
    let unknown = with_header(&keyed(), |h| h.attributes = Attributes(6));
    assert_eq!(code_of(&unknown, &rules()), 76, "a codec that does not exist");
}

#[test]
fn rule_5_checksum_and_length() {
    let good = keyed().to_bytes();
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[at..at + field.len()].copy_from_slice(field);
        code(bytes)
    };
    for at in CRC_COVERED {
        assert_eq!(with(at, &[good[at] ^ 1]), 2, "byte {at}");
    }
    assert_eq!(with(8, &13i32.to_be_bytes()), 2, "no batch is so short");
    assert_eq!(with(8, &(-5i32).to_be_bytes()), 2);
    assert_eq!(
        with(8, &i32::MAX.to_be_bytes()),
        87,
        "longer than what is there: no batch"
    );
    assert_eq!(with(12, &77i32.to_be_bytes()), 0, "the leader epoch is not covered");
}

/// Bytes that the checksum covers: the last of the checksum itself, of the header and of the records.
const CRC_COVERED: [usize; 4] = [20, 35, 60, 150];

#[test]
fn rule_6_counts_control_batches_and_sequences() {
    let refused =
        |change: fn(&mut highwater_proto::record::BatchHeader)| code_of(&with_header(&keyed(), change), &rules());
    assert_eq!(refused(|h| h.record_count = 2), 87);
    assert_eq!(refused(|h| h.last_offset_delta = 3), 87);
    assert_eq!(refused(|h| (h.record_count, h.last_offset_delta) = (0, -1)), 87);
    assert_eq!(refused(|h| (h.record_count, h.last_offset_delta) = (-1, -2)), 87);
    assert_eq!(
        refused(|h| (h.record_count, h.last_offset_delta) = (i32::MIN, i32::MAX)),
        87
    );
    assert_eq!(refused(|h| h.attributes = h.attributes.with_control(true)), 87);
    assert_eq!(
        refused(|h| (h.producer_id, h.producer_epoch) = (ProducerId(1), ProducerEpoch(0))),
        87
    );
    assert_eq!(refused(|h| (h.producer_id, h.base_sequence) = (ProducerId(1), 0)), 0);
    assert_eq!(
        refused(|h| (h.record_count, h.last_offset_delta) = (4, 3)),
        87,
        "more than there are"
    );
    assert_eq!(
        refused(|h| (h.record_count, h.last_offset_delta) = (2, 1)),
        87,
        "fewer than there are"
    );
}

#[test]
fn rule_7_compacted_topics_refuse_null_keys_and_name_all() {
    let keys: [Option<&[u8]>; 7] = [None, Some(b"k"), None, Some(b""), None, None, Some(b"k")];
    let batch = batch_of(&keys.map(|k| (k, NOW.0)));
    let compacted = ValidationRules {
        compacted: true,
        ..rules()
    };
    for codec in CODECS {
        let batch = compressed(&batch, codec);
        assert_eq!(code_of(&batch, &rules()), 0, "{codec}");
        let refused = produce(&batch.to_bytes(), &compacted).expect_err("null keys");
        assert_eq!(refused.error_code().code(), 87, "{codec}");
        let bad: Vec<i32> = refused.record_faults().iter().map(|f| f.index).collect();
        assert_eq!(bad, [0, 2, 4, 5], "{codec}");
        let text = refused.to_string();
        assert!(text.contains("4 record errors") && text.contains("batchIndex=4") && !text.contains("batchIndex=5"));
    }
    assert_eq!(code_of(&keyed(), &compacted), 0);
    let many = batch_of(&vec![(None, NOW.0); MAX_RECORD_FAULTS + 5]);
    let refused = produce(&many.to_bytes(), &compacted).expect_err("null keys");
    assert_eq!(
        refused.record_faults().len(),
        MAX_RECORD_FAULTS,
        "the answer stays bounded"
    );
    assert!(refused.to_string().contains("10005 record errors"));
}

#[test]
fn rule_8_timestamps_in_bounds_by_default_one_hour_ahead() {
    let at = |timestamp: i64, rules: &ValidationRules| code_of(&batch_of(&[(Some(b"k"), timestamp)]), rules);
    const HOUR: i64 = 3_600_000;
    assert_eq!([at(NOW.0 + HOUR, &rules()), at(NOW.0 + HOUR + 1, &rules())], [0, 32]);
    assert_eq!(
        [at(0, &rules()), at(i64::MIN, &rules()), at(i64::MAX, &rules())],
        [0, 0, 32]
    );
    let day = ValidationRules {
        before_max_ms: 24 * HOUR,
        ..rules()
    };
    assert_eq!([at(NOW.0 - 24 * HOUR, &day), at(NOW.0 - 24 * HOUR - 1, &day)], [0, 32]);
    assert_eq!(at(NO_TIMESTAMP.0, &day), 0, "no timestamp is exempt");
    let append = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..day
    };
    assert_eq!(
        [at(0, &append), at(i64::MAX, &append)],
        [0, 0],
        "not checked with log append time"
    );
    let marked = with_header(&keyed(), |h| {
        h.attributes = h.attributes.with_timestamp_type(TimestampType::LogAppendTime);
    });
    assert_eq!(
        [code_of(&marked, &rules()), code_of(&marked, &append)],
        [32, 32],
        "the bit is the leader's"
    );
}

#[test]
fn rule_9_a_bad_timestamp_wins_over_a_null_key() {
    let compacted = ValidationRules {
        compacted: true,
        before_max_ms: 1_000,
        ..rules()
    };
    let batch = batch_of(&[(None, NOW.0), (Some(b"k"), NOW.0 - 5_000), (Some(b"k"), NOW.0)]);
    let refused = produce(&batch.to_bytes(), &compacted).expect_err("bad records");
    assert_eq!(refused.error_code().code(), 32);
    let kinds: Vec<_> = refused.record_faults().iter().map(|f| (f.index, f.kind)).collect();
    let bounds = (TimestampMs(NOW.0 - 1_000), TimestampMs(NOW.0 + 3_600_000));
    let timestamp = TimestampMs(NOW.0 - 5_000);
    let fault = FaultKind::Timestamp {
        timestamp,
        earliest: bounds.0,
        latest: bounds.1,
    };
    assert_eq!(kinds, [(0, FaultKind::MissingKey), (1, fault)]);
}

#[test]
fn rule_10_the_base_offset_is_zero() {
    let batch = with_header(&keyed(), |h| h.base_offset = Offset(5));
    assert_eq!(code_of(&batch, &rules()), 87);
}

#[test]
fn rule_11_log_append_time_changes_the_header_only() {
    let append = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    for codec in CODECS {
        let sent = compressed(&keyed(), codec);
        let accepted = produce(&sent.to_bytes(), &append).expect("good");
        assert!(accepted.verify_crc(), "{codec}");
        assert_eq!(accepted.header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(
            (accepted.header.max_timestamp, accepted.header.base_timestamp),
            (NOW, sent.header.base_timestamp)
        );
        assert_eq!(accepted.records, sent.records, "{codec}");
        assert!(contents(&accepted).iter().all(|(_, timestamp, ..)| *timestamp == NOW.0));
    }
}

#[test]
fn rule_12_the_codec_is_changed_only_where_the_topic_asks() {
    for from in CODECS {
        for to in CODECS {
            let sent = with_header(&compressed(&keyed(), from), |h| {
                (h.producer_id, h.producer_epoch, h.base_sequence) = (ProducerId(9), ProducerEpoch(3), 70);
                h.attributes = h.attributes.with_transactional(true);
            });
            let rules = ValidationRules {
                compression: Some(target(to)),
                ..rules()
            };
            let accepted = produce(&sent.to_bytes(), &rules).expect("good");
            assert!(accepted.verify_crc(), "{from} to {to}");
            assert_eq!(accepted.header.compression(), Some(to));
            assert_eq!(contents(&accepted), contents(&sent), "{from} to {to}");
            if from == to {
                assert_eq!(accepted, sent, "level and bytes stay");
            }
            let kept = |b: &Batch| (b.header.producer_id, b.header.producer_epoch, b.header.base_sequence);
            assert_eq!(
                (kept(&accepted), accepted.header.is_transactional()),
                (kept(&sent), true)
            );
        }
    }
}

#[test]
fn rule_12_inner_offsets_with_gaps_are_repaired_where_records_are_read() {
    let (one, two) = (keyed(), batch_of(&[(Some(b"a"), NOW.0), (Some(b"b"), NOW.0)]));
    let records = Bytes::from([&one.records[..], &two.records[..]].concat());
    let mut header = one.header;
    (header.record_count, header.last_offset_delta) = (5, 4);
    let gaps = Batch::seal(header, records);
    assert_eq!(contents(&gaps).iter().map(|r| r.0).collect::<Vec<_>>(), [0, 1, 2, 0, 1]);
    let compacted = ValidationRules {
        compacted: true,
        ..rules()
    };
    for codec in CODECS {
        let accepted = produce(&compressed(&gaps, codec).to_bytes(), &compacted).expect("repaired");
        assert!(accepted.verify_crc());
        assert_eq!(accepted.header.compression(), Some(codec));
        assert_eq!(
            contents(&accepted).iter().map(|r| r.0).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4],
            "{codec}"
        );
        let values = |b: &Batch| contents(b).into_iter().map(|r| (r.1, r.2, r.3)).collect::<Vec<_>>();
        assert_eq!(values(&accepted), values(&gaps));
    }
}

#[test]
fn rule_123_a_wrong_max_timestamp_is_corrected_where_records_are_read_and_where_they_are_not_compressed() {
    let compacted = ValidationRules {
        compacted: true,
        ..rules()
    };
    for claimed in [NO_TIMESTAMP, TimestampMs(5), TimestampMs(NOW.0 + 3_600_001)] {
        let lying = with_header(&keyed(), |h| h.max_timestamp = claimed);
        for rules in [&compacted, &rules()] {
            let accepted = produce(&lying.to_bytes(), rules).expect("good");
            assert_eq!((accepted.header.max_timestamp, accepted.verify_crc()), (NOW, true));
        }
    }
    // What the records say is held against the bounds, whatever the header claims.
    let ahead = with_header(&batch_of(&[(None, NOW.0 + 3_600_001)]), |h| h.max_timestamp = NOW);
    assert_eq!(code_of(&ahead, &rules()), 32);
}

#[test]
fn a_bound_on_decompressed_records_is_held_whatever_is_done_with_them() {
    let value = [b'x'; 1000];
    let batch = batch_of(&[(Some(b"k"), NOW.0), (Some(&value), NOW.0)]);
    for codec in CODECS {
        let sent = compressed(&batch, codec);
        for (limit, compressed_code) in [(2_147_483_639, 0), (2_000, 0), (1_000, 10)] {
            let rules = ValidationRules {
                max_decompressed_record_bytes: limit,
                ..rules()
            };
            let expected = if codec == Compression::None { 0 } else { compressed_code };
            assert_eq!(code_of(&sent, &rules), expected, "{codec} {limit}");
            assert_eq!(
                rules.read_records_of(&sent.header),
                codec != Compression::None && limit < 2_147_483_639
            );
        }
    }
}

#[test]
fn rule_136_the_recompressed_size_counts_too() {
    let sent = compressed(&keyed(), Compression::Gzip);
    let limit = sent.size();
    let uncompressed = Some(target(Compression::None));
    let rules = ValidationRules {
        max_message_bytes: limit,
        compression: uncompressed,
        ..rules()
    };
    let refused = produce(&sent.to_bytes(), &rules).expect_err("too large when uncompressed");
    assert_eq!(refused.error_code().code(), 10);
    assert_eq!(
        code_of(
            &sent,
            &ValidationRules {
                compression: None,
                ..rules
            }
        ),
        0,
        "exactly the limit"
    );
    assert_eq!(
        code_of(
            &sent,
            &ValidationRules {
                max_message_bytes: limit - 1,
                compression: None,
                ..rules
            }
        ),
        10
    );
}

#[test]
fn rule_4_the_first_fault_in_kafkas_order_decides() {
    // Everything is wrong; faults are repaired one after the other.
    let mut bytes = with_header(&keyed(), |h| (h.base_offset, h.record_count) = (Offset(1), 9))
        .to_bytes()
        .to_vec();
    let crc_byte = 20;
    bytes[crc_byte] ^= 1;
    let tight = ValidationRules {
        max_message_bytes: 100,
        ..rules()
    };
    let next = |bytes: &[u8], rules: &ValidationRules| {
        let refused = produce(&Bytes::copy_from_slice(bytes), rules).expect_err("something is wrong");
        (refused.error_code().code(), refused.is_about_records())
    };
    assert_eq!(next(&bytes, &tight), (87, false));
    bytes[..8].fill(0);
    assert_eq!(next(&bytes, &tight), (10, false));
    assert_eq!(next(&bytes, &rules()), (2, false));
    bytes[crc_byte] ^= 1;
    assert_eq!(next(&bytes, &rules()), (87, true));
}

#[test]
fn records_that_do_not_fill_their_batch_are_refused() {
    let good = keyed();
    for records in [
        good.records.slice(..good.records.len() - 1),
        Bytes::from([&good.records[..], b"x"].concat()),
    ] {
        let batch = Batch::seal(good.header, records);
        assert_eq!(code_of(&batch, &rules()), 87);
        for codec in CODECS {
            let compacted = ValidationRules {
                compacted: true,
                ..rules()
            };
            assert_eq!(code_of(&compressed(&batch, codec), &compacted), 87, "{codec}");
        }
    }
}

#[test]
fn rule_51_lookup_by_time_finds_the_record_inside_the_batch() {
    let times = [NOW.0, NOW.0 - 50, NOW.0 + 7, NOW.0 + 7, NOW.0 + 3];
    let batch = batch_of(&times.map(|t| (None, t)));
    for codec in CODECS {
        let mut batch = compressed(&batch, codec);
        batch.header.base_offset = Offset(100);
        let at = |t: i64, start: i64| {
            let found = first_at_or_after(&batch, TimestampMs(t), Offset(start), 1 << 20).expect("readable");
            found.map(|(offset, timestamp)| (offset.0, timestamp.0 - NOW.0))
        };
        assert_eq!(at(NOW.0 - 100, 0), Some((100, 0)));
        assert_eq!(at(NOW.0 - 100, 101), Some((101, -50)));
        assert_eq!(at(NOW.0 + 1, 0), Some((102, 7)));
        assert_eq!(at(NOW.0 + 1, 104), Some((104, 3)));
        assert_eq!(at(NOW.0 + 8, 0), None);
        let max = |start| {
            first_of_max_timestamp(&batch, Offset(start), 1 << 20)
                .expect("readable")
                .map(|f| f.0.0)
        };
        assert_eq!(
            [max(0), max(103), max(104), max(105)],
            [Some(102), Some(103), Some(104), None]
        );
        assert!(
            codec == Compression::None || first_at_or_after(&batch, NOW, Offset(0), 10).is_err(),
            "bounded"
        );
    }
}
