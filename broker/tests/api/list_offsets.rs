use bytes::Bytes;
use highwater_broker::records::{CompressionTarget, compress};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::list_offsets::ListOffsetsRequest;
use highwater_proto::kafka::messages::list_offsets::request::{ListOffsetsPartition, ListOffsetsTopic};
use highwater_proto::kafka::messages::list_offsets::response::ListOffsetsPartitionResponse;
use highwater_proto::metadata::Partition;
use highwater_proto::record::{Batch, BatchBuilder, Compression};
use highwater_proto::types::{LeaderEpoch, NodeId, TimestampMs};

use crate::produce::produce;
use crate::support::{Client, NODE, TestBroker, batch};

fn request(version: i16, topic: &str, timestamp: i64) -> ListOffsetsRequest {
    let _ = version;
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition {
                partition_index: 0,
                timestamp,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn list(client: &mut Client, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    client.call(version, &request(version, "t", timestamp)).await.topics[0].partitions[0].clone()
}

/// Offset and timestamp.
async fn found(client: &mut Client, version: i16, timestamp: i64) -> (i64, i64) {
    let partition = list(client, version, timestamp).await;
    assert_eq!(partition.error_code, 0);
    (partition.offset, partition.timestamp)
}

#[tokio::test]
async fn ends_and_times_are_found_in_every_version() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for version in 1..=10 {
        assert_eq!(found(&mut client, version, -1).await, (0, -1));
        assert_eq!(found(&mut client, version, -2).await, (0, -1));
        assert_eq!(found(&mut client, version, 0).await, (-1, -1), "nothing to find");
    }
    assert_eq!(found(&mut client, 7, -3).await, (-1, -1), "empty log");
    let mut builder = BatchBuilder::new();
    for timestamp in [1_000, 3_000, 2_000] {
        builder.append(TimestampMs(timestamp), None, Some(b"v"), &[]).unwrap();
    }
    assert_eq!(
        produce(&mut client, "t", -1, builder.build().unwrap().to_bytes())
            .await
            .error_code,
        0
    );
    let mut builder = BatchBuilder::new();
    for timestamp in [2_500, 3_000] {
        builder.append(TimestampMs(timestamp), None, Some(b"v"), &[]).unwrap();
    }
    assert_eq!(
        produce(&mut client, "t", -1, builder.build().unwrap().to_bytes())
            .await
            .error_code,
        0
    );
    for version in 1..=10 {
        assert_eq!(found(&mut client, version, -1).await, (5, -1));
        assert_eq!(found(&mut client, version, 0).await, (0, 1_000));
        assert_eq!(
            found(&mut client, version, 1_001).await,
            (1, 3_000),
            "by record, not by batch"
        );
        assert_eq!(found(&mut client, version, 3_000).await, (1, 3_000));
        assert_eq!(found(&mut client, version, 3_001).await, (-1, -1));
    }
    for version in 7..=10 {
        assert_eq!(
            found(&mut client, version, -3).await,
            (1, 3_000),
            "the first with the largest timestamp"
        );
    }
    assert_eq!(found(&mut client, 8, -4).await, (0, -1));
    assert_eq!(found(&mut client, 9, -5).await, (-1, -1));
    assert_eq!(list(&mut client, 4, -1).await.leader_epoch, 0);
}

#[tokio::test]
async fn what_cannot_be_looked_up_has_kafkas_errors() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (10, -6), (10, -99)] {
        let error = list(&mut client, version, timestamp).await.error_code;
        assert_eq!(
            error,
            ErrorCode::UnsupportedVersion.code(),
            "{timestamp} in version {version}"
        );
    }
    let unknown = client.call(7, &request(7, "unknown", -1)).await;
    assert_eq!(
        unknown.topics[0].partitions[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    let mut twice = request(7, "t", -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    let response = client.call(7, &twice).await;
    let codes = response.topics[0].partitions.iter().map(|it| it.error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [ErrorCode::InvalidRequest.code(); 2]);
    let mut newer = request(7, "t", -1);
    newer.topics[0].partitions[0].current_leader_epoch = 7;
    let response = client.call(7, &newer).await;
    assert_eq!(
        response.topics[0].partitions[0].error_code,
        ErrorCode::UnknownLeaderEpoch.code()
    );
}

#[tokio::test]
async fn a_new_leader_does_not_know_the_latest_until_older_records_are_committed() {
    let broker = TestBroker::start().await;
    let both = |epoch| Partition {
        replicas: vec![NODE, NodeId(1)],
        isr: vec![NODE, NodeId(1)],
        leader: Some(NODE),
        leader_epoch: LeaderEpoch(epoch),
        ..Partition::default()
    };
    broker.create_with("t", 1, &[], &both(0)).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "t", 1, batch(&["a"])).await.error_code, 0);
    broker.create_with("t", 1, &[], &both(1)).await;
    assert_eq!(
        list(&mut client, 5, -1).await.error_code,
        ErrorCode::OffsetNotAvailable.code()
    );
    assert_eq!(
        list(&mut client, 4, -1).await.error_code,
        ErrorCode::LeaderNotAvailable.code()
    );
    assert_eq!(
        list(&mut client, 5, 0).await.error_code,
        ErrorCode::OffsetNotAvailable.code()
    );
    assert_eq!(list(&mut client, 5, -2).await.error_code, 0);
}

/// A batch of one record, in Zstandard.
fn zstd(timestamp: i64, value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.append(TimestampMs(timestamp), None, Some(value), &[]).unwrap();
    let plain = builder.build().unwrap();
    let target = CompressionTarget {
        codec: Compression::Zstd,
        level: 1,
    };
    let mut header = plain.header;
    header.attributes = header.attributes.with_compression(Compression::Zstd);
    Batch::seal(header, compress(target, &plain.records).unwrap())
}

#[tokio::test]
async fn a_batch_that_nobody_can_read_does_not_stand_in_the_way_of_look_ups() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    let good = zstd(1_000, b"v");
    let garbage = Batch::seal(
        zstd(9_000, b"v").header,
        Bytes::from_static(b"this is not what zstd writes"),
    );
    let later = zstd(2_000, b"v");
    for sent in [good, garbage, later] {
        assert_eq!(produce(&mut client, "t", -1, sent.to_bytes()).await.error_code, 0);
    }
    assert_eq!(found(&mut client, 7, 500).await, (0, 1_000));
    assert_eq!(found(&mut client, 7, 1_500).await, (2, 2_000));
    assert_eq!(found(&mut client, 7, 5_000).await, (-1, -1));
    assert_eq!(found(&mut client, 7, -3).await, (2, 2_000));
}

#[tokio::test]
async fn a_batch_that_is_too_large_to_be_looked_into_is_found_by_its_header() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for sent in [zstd(1_000, b"v"), zstd(2_000, &vec![0; 65 << 20]), zstd(3_000, b"v")] {
        assert_eq!(produce(&mut client, "t", -1, sent.to_bytes()).await.error_code, 0);
    }
    assert_eq!(found(&mut client, 7, 1_500).await, (1, 2_000));
    assert_eq!(found(&mut client, 7, 2_001).await, (2, 3_000));
}

#[tokio::test]
async fn headers_may_claim_any_time_without_hiding_records() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let plain = |timestamp| {
        let mut builder = BatchBuilder::new();
        builder.append(TimestampMs(timestamp), None, Some(b"v"), &[]).unwrap();
        builder.build().unwrap()
    };
    let claiming = |batch: Batch, claimed| {
        let mut header = batch.header;
        header.max_timestamp = TimestampMs(claimed);
        Batch::seal(header, batch.records).to_bytes()
    };
    for (name, batches) in [
        ("plain", [plain(1_000), plain(1_500)]),
        ("compressed", [zstd(1_000, b"v"), zstd(1_500, b"v")]),
    ] {
        broker.create("t", 1, &[]).await;
        for batch in batches {
            let sent = claiming(batch, 2_000);
            assert_eq!(produce(&mut client, "t", -1, sent).await.error_code, 0);
        }
        assert_eq!(found(&mut client, 7, -3).await, (1, 1_500), "{name}");
        assert_eq!(found(&mut client, 7, 1_800).await, (-1, -1), "{name}");
        broker.delete("t").await;
    }
    // What is not compressed is found even where the header claims that there are no timestamps.
    broker.create("t", 1, &[]).await;
    let sent = claiming(plain(1_000), -1);
    assert_eq!(produce(&mut client, "t", -1, sent).await.error_code, 0);
    assert_eq!(found(&mut client, 7, 900).await, (0, 1_000));
    assert_eq!(found(&mut client, 7, -3).await, (0, 1_000));
}
