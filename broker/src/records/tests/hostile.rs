//! What a hostile client may send: nothing may panic, reserve memory without bound, or be taken for good.

use bytes::Bytes;
use highwater_proto::record::{Batch, Compression};
use proptest::prelude::*;

use super::{CODECS, compressed, keyed, produce, target};
use crate::records::{DecompressError, ValidationRules, compress, decompress, fuzz_decompress, fuzz_validate};

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = Bytes::from(vec![0; 8 << 20]);
    for codec in CODECS.into_iter().skip(1) {
        let bomb = compress(target(codec), &zeros).expect("compresses");
        let limit = 1 << 20;
        assert_eq!(
            decompress(codec, &bomb, limit),
            Err(DecompressError::TooLarge { limit }),
            "{codec}"
        );
    }
}

#[test]
fn a_bomb_in_a_batch_is_too_large() {
    let bomb = compress(target(Compression::Zstd), &Bytes::from(vec![0; 65 << 20])).expect("compresses");
    let batch = Batch::seal(compressed(&keyed(), Compression::Zstd).header, bomb);
    let rules = ValidationRules {
        compacted: true,
        ..ValidationRules::default()
    };
    let refused = produce(&batch.to_bytes(), &rules).expect_err("a bomb");
    assert_eq!(refused.error_code().code(), 10);
    assert!(
        refused.to_string().contains("67109632 bytes when decompressed"),
        "{refused}"
    );
}

#[test]
fn a_record_larger_than_configured_is_refused_where_it_is_decompressed() {
    let batch = keyed();
    let rules = ValidationRules {
        compacted: true,
        max_decompressed_record_bytes: 200,
        ..ValidationRules::default()
    };
    for codec in CODECS {
        let answer = produce(&compressed(&batch, codec).to_bytes(), &rules).map_err(|r| r.error_code().code());
        assert_eq!(answer.err(), (codec != Compression::None).then_some(10), "{codec}");
        let larger = ValidationRules {
            max_decompressed_record_bytes: 300,
            ..rules
        };
        assert!(
            produce(&compressed(&batch, codec).to_bytes(), &larger).is_ok(),
            "{codec}"
        );
    }
}

#[test]
fn a_length_on_the_wire_reserves_nothing() {
    // A raw snappy block that announces 3 GiB, and one of 20 MiB in seven bytes.
    let huge = Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 0x0c, 0, 0]);
    assert!(decompress(Compression::Snappy, &huge, 1 << 30).is_err());
    let large = Bytes::from_static(&[0x80, 0x80, 0x80, 0x0a, 0, 0, 0]);
    let error = decompress(Compression::Snappy, &large, 1 << 30).expect_err("too small to hold that");
    assert!(matches!(error, DecompressError::Malformed { .. }), "{error}");
    // A zstd frame with a window of 128 MiB and 3 bytes of content.
    let window = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x19, 0, 0, b'a', b'b', b'c']);
    assert_eq!(
        decompress(Compression::Zstd, &window, 3),
        Ok(Bytes::from_static(b"abc"))
    );
}

#[test]
fn garbage_in_every_codec_is_an_error() {
    for codec in CODECS.into_iter().skip(1) {
        for input in [
            &b"garbage that is no stream"[..],
            &[0xff; 40],
            &[0x1f, 0x8b, 8, 0],
            &[0x28, 0xb5, 0x2f, 0xfd],
        ] {
            let output = decompress(codec, &Bytes::copy_from_slice(input), 1 << 20);
            assert!(
                matches!(output, Err(DecompressError::Malformed { .. })),
                "{codec} {input:x?} {output:?}"
            );
        }
        let batch = Batch::seal(compressed(&keyed(), codec).header, Bytes::from_static(b"garbage"));
        let compacted = ValidationRules {
            compacted: true,
            ..ValidationRules::default()
        };
        let refused = produce(&batch.to_bytes(), &compacted).expect_err("garbage");
        assert_eq!(refused.error_code().code(), 87, "{codec}");
    }
}

#[test]
fn the_fuzz_bodies_hold_on_their_corpus() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    type Body = fn(&[u8]);
    let bodies: [(&str, Body); 2] = [
        ("produced_batch", fuzz_validate),
        ("compressed_records", fuzz_decompress),
    ];
    for (name, body) in bodies {
        let files: Vec<_> = std::fs::read_dir(corpus.join(name)).expect("a corpus").collect();
        assert!(files.len() >= 4, "{name} has a seed for each codec");
        for file in files {
            body(&std::fs::read(file.expect("an entry").path()).expect("a file"));
        }
    }
}

/// Some bytes of a good batch changed, perhaps cut.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (
        0..CODECS.len(),
        edits,
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    )
        .prop_map(|(codec, edits, cut)| {
            let mut bytes = compressed(&keyed(), CODECS[codec]).to_bytes().to_vec();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn mutated_batches_never_panic_and_never_pass_the_checksum(bytes in mutated()) {
        let good: Vec<Vec<u8>> = CODECS.iter().map(|c| compressed(&keyed(), *c).to_bytes().to_vec()).collect();
        // Base offset and leader epoch are not covered; a base offset is refused, an epoch is overwritten.
        let covered = |b: &[u8]| [&b[8..12], &b[16..]].concat();
        if let Ok(batch) = produce(&Bytes::from(bytes.clone()), &ValidationRules::default()) {
            prop_assert!(good.iter().any(|g| covered(g) == covered(&batch.to_bytes())));
        }
        fuzz_validate(&bytes);
    }

    #[test]
    fn mutated_streams_never_panic(
        codec in 1..CODECS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = compressed(&keyed(), CODECS[codec]).records.to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_decompress(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_validate(&bytes);
        fuzz_decompress(&bytes);
    }
}
