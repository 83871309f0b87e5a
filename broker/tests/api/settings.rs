//! Configs of topics are obeyed while the broker runs, from the next request on.

use highwater_broker::records::{CompressionTarget, compress, records_section};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::{Batch, BatchBuilder, Batches, Compression, RecordIter, TimestampType};
use highwater_proto::types::TimestampMs;

use crate::fetch::{only, request as fetch_request, values};
use crate::produce::produce;
use crate::support::{Client, TestBroker, batch};

const DAY_MS: i64 = 86_400_000;

/// One record of 400 kB with this timestamp.
fn large(timestamp: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder
        .append(TimestampMs(timestamp), None, Some(&[b'x'; 400_000]), &[])
        .unwrap();
    builder.build().unwrap().to_bytes()
}

/// Base offsets of the segments of `t-0`.
fn segments(broker: &TestBroker) -> Vec<i64> {
    let names = std::fs::read_dir(broker.data_dir().join("t-0")).unwrap();
    let mut bases: Vec<i64> = names
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    bases.sort_unstable();
    bases
}

async fn append(client: &mut Client, timestamp: i64) {
    let answer = produce(client, "t", -1, large(timestamp)).await;
    assert_eq!(answer.error_code, 0);
}

#[tokio::test]
async fn segments_are_closed_by_the_size_and_the_age_that_hold_now() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for _ in 0..3 {
        append(&mut client, 1_000).await;
    }
    assert_eq!(segments(&broker), [0], "1 GiB by default");
    broker.create("t", 1, &[("segment.bytes", "1048576")]).await;
    for _ in 0..4 {
        append(&mut client, 1_000).await;
    }
    assert_eq!(segments(&broker), [0, 3, 5], "two fit into 1 MiB");
    broker.create("t", 1, &[("segment.ms", "60000")]).await;
    for timestamp in [61_000, 61_001, 62_000] {
        append(&mut client, timestamp).await;
    }
    assert_eq!(segments(&broker), [0, 3, 5, 8], "by the time of the records");
    broker.create("t", 1, &[]).await;
    append(&mut client, 6 * DAY_MS).await;
    assert_eq!(segments(&broker), [0, 3, 5, 8], "7 days by default");
}

#[tokio::test]
async fn retention_goes_by_the_size_and_the_age_that_hold_now() {
    let broker = TestBroker::start().await;
    let small = ("segment.bytes", "1048576");
    let with = |key, value| [small, (key, value)];
    broker.create("t", 1, &with("retention.ms", "-1")).await;
    let mut client = broker.connect().await;
    let now = highwater_node::clock::Clock::system().now_ms().get();
    for day in (0..8).rev() {
        append(&mut client, now - day * DAY_MS).await;
    }
    let retain = || broker.broker.partitions().retention();
    retain();
    assert_eq!(segments(&broker), [0, 2, 4, 6], "-1 keeps for ever");
    broker.create("t", 1, &with("retention.ms", "518400000")).await;
    retain();
    assert_eq!(segments(&broker), [2, 4, 6], "older than 6 days");
    broker
        .create("t", 1, &[small, ("retention.ms", "-1"), ("retention.bytes", "900000")])
        .await;
    retain();
    assert_eq!(segments(&broker), [4, 6], "what is kept is never less than the limit");
    for (offset, expected) in [(3, (ErrorCode::OffsetOutOfRange, -1)), (4, (ErrorCode::None, 4))] {
        let response = client.call(12, &fetch_request(12, "t", 0, offset)).await;
        let answer = only(&response);
        assert_eq!(
            (ErrorCode::from_code(answer.error_code), answer.log_start_offset),
            expected
        );
    }
}

#[tokio::test]
async fn batches_are_stored_with_the_topics_codec_and_time() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let sent = |codec| {
        let plain = Batches::new(batch(&["a", "b"])).next().unwrap().unwrap();
        let target = CompressionTarget { codec, level: -1 };
        let records = compress(target, &plain.records).unwrap();
        let mut header = plain.header;
        header.attributes.0 |= i16::from(codec.code());
        Batch::seal(header, records)
    };
    let mut stored = async |codec, configs: &[(&str, &str)]| {
        broker.create("t", 1, configs).await;
        let answer = produce(&mut client, "t", -1, sent(codec).to_bytes()).await;
        assert_eq!(answer.error_code, 0);
        let response = client.call(12, &fetch_request(12, "t", 0, answer.base_offset)).await;
        let batch = Batches::new(only(&response).records.clone().unwrap())
            .next()
            .unwrap()
            .unwrap();
        assert!(batch.verify_crc());
        let section = records_section(&batch, 1 << 20).unwrap();
        let records: Vec<_> = RecordIter::new(&batch.header, &section).map(Result::unwrap).collect();
        let values: Vec<_> = records.iter().map(|record| record.value.unwrap()).collect();
        assert_eq!(values, [b"a", b"b"]);
        assert_eq!(records[1].offset.get(), answer.base_offset + 1);
        (batch, answer.log_append_time_ms, records[0].timestamp.get())
    };
    let all = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for codec in all {
        let (kept, _, _) = stored(codec, &[("compression.type", "producer")]).await;
        assert_eq!(kept.records, sent(codec).records, "not a byte is touched");
        for target in all {
            let name = if target == Compression::None {
                "uncompressed"
            } else {
                target.name()
            };
            let (batch, time, of_record) = stored(codec, &[("compression.type", name)]).await;
            assert_eq!(batch.header.compression(), Some(target), "{codec:?}");
            assert_eq!((time, of_record), (-1, 1_000_000));
        }
    }
    let stamped = [
        ("compression.type", "zstd"),
        ("message.timestamp.type", "LogAppendTime"),
    ];
    for configs in [&stamped[..], &stamped[1..]] {
        let (batch, time, of_record) = stored(Compression::Gzip, configs).await;
        assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
        assert!(time > 1_600_000_000_000);
        assert_eq!((of_record, batch.header.max_timestamp.get()), (time, time));
    }
}

#[tokio::test]
async fn the_largest_batch_is_the_one_that_holds_now() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    append(&mut client, 1_000).await;
    broker.create("t", 1, &[("max.message.bytes", "1000")]).await;
    let refused = produce(&mut client, "t", -1, large(1_000)).await;
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge.code());
    let taken = produce(&mut client, "t", -1, batch(&["small"])).await;
    assert_eq!((taken.error_code, taken.base_offset), (0, 1));
    let response = client.call(12, &fetch_request(12, "t", 0, 1)).await;
    assert_eq!(values(only(&response).records.as_ref()), ["small"]);
}
