use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};
use highwater_proto::kafka::messages::produce::response::PartitionProduceResponse;
use highwater_proto::kafka::messages::produce::{ProduceRequest, ProduceResponse};
use highwater_proto::metadata::Partition;
use highwater_proto::record::{BatchBuilder, CRC_START, crc32c};
use highwater_proto::types::{LeaderEpoch, NodeId, TimestampMs, TopicId};

use crate::support::{Client, NODE, TestBroker, batch, sequenced, topic_id};

/// One partition of one topic, by name and by id, whichever the version takes.
pub fn request(version: i16, topic: &str, index: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let by_id = version >= 13;
    ProduceRequest {
        acks,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: if by_id { "".into() } else { topic.into() },
            topic_id: if by_id { topic_id(topic).0 } else { TopicId::ZERO.0 },
            partition_data: vec![PartitionProduceData {
                index,
                records,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn only(response: &ProduceResponse) -> &PartitionProduceResponse {
    assert_eq!(response.responses.len(), 1);
    assert_eq!(response.responses[0].partition_responses.len(), 1);
    &response.responses[0].partition_responses[0]
}

pub async fn produce(client: &mut Client, topic: &str, acks: i16, records: Bytes) -> PartitionProduceResponse {
    only(&client.call(9, &request(9, topic, 0, acks, Some(records))).await).clone()
}

async fn error_of(client: &mut Client, request: &ProduceRequest, version: i16) -> (ErrorCode, i64) {
    let response = client.call(version, request).await;
    (
        ErrorCode::from_code(only(&response).error_code),
        only(&response).base_offset,
    )
}

#[tokio::test]
async fn offsets_follow_each_other_in_every_version_and_with_every_acks() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    let mut expected = 0;
    for version in 3..=13 {
        for acks in [1, -1] {
            let response = client
                .call(version, &request(version, "t", 0, acks, Some(batch(&["a", "b"]))))
                .await;
            let partition = only(&response);
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, expected),
                "version {version}"
            );
            assert_eq!(partition.log_append_time_ms, -1, "records keep their own timestamps");
            if version >= 5 {
                assert_eq!(partition.log_start_offset, 0);
            }
            expected += 2;
        }
    }
}

#[tokio::test]
async fn acks_0_is_never_answered_and_an_error_closes_the_connection() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    client.send(9, &request(9, "t", 0, 0, Some(batch(&["a"])))).await;
    // The next answer is that of the next request.
    assert_eq!(produce(&mut client, "t", 1, batch(&["b"])).await.base_offset, 1);
    client.send(9, &request(9, "unknown", 0, 0, Some(batch(&["a"])))).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn bad_requests_get_kafkas_errors() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[("max.message.bytes", "200")]).await;
    broker.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    broker.create("__consumer_offsets", 1, &[]).await;
    let mut client = broker.connect().await;
    let good = || Some(batch(&["a"]));
    let mut corrupt = BytesMut::from(&batch(&["a"])[..]);
    corrupt[66] ^= 1;
    let mut two = BytesMut::from(&batch(&["a"])[..]);
    two.put_slice(&batch(&["b"]));
    let mut control = BytesMut::from(&batch(&["a"])[..]);
    control[22] |= 0x20;
    let crc = crc32c(&control[CRC_START..]);
    control[17..21].copy_from_slice(&crc.to_be_bytes());
    let mut old_format = BytesMut::from(&batch(&["a"])[..]);
    old_format[16] = 1;
    let mut moved = BytesMut::from(&batch(&["a"])[..]);
    moved[7] = 5;
    let large = Some(batch(&["x".repeat(300).as_str()]));
    for (case, request, expected) in [
        ("acks 2", request(9, "t", 0, 2, good()), ErrorCode::InvalidRequiredAcks),
        (
            "bad checksum",
            request(9, "t", 0, 1, Some(corrupt.freeze())),
            ErrorCode::CorruptMessage,
        ),
        ("too large", request(9, "t", 0, 1, large), ErrorCode::MessageTooLarge),
        (
            "null key, compacted",
            request(9, "compacted", 0, 1, good()),
            ErrorCode::InvalidRecord,
        ),
        (
            "control batch",
            request(9, "t", 0, 1, Some(control.freeze())),
            ErrorCode::InvalidRecord,
        ),
        (
            "two batches",
            request(9, "t", 0, 1, Some(two.freeze())),
            ErrorCode::InvalidRecord,
        ),
        (
            "cut short",
            request(9, "t", 0, 1, Some(batch(&["a"]).slice(..65))),
            ErrorCode::InvalidRecord,
        ),
        ("no records", request(9, "t", 0, 1, None), ErrorCode::InvalidRecord),
        (
            "old format",
            request(9, "t", 0, 1, Some(old_format.freeze())),
            ErrorCode::InvalidRecord,
        ),
        (
            "base offset",
            request(9, "t", 0, 1, Some(moved.freeze())),
            ErrorCode::InvalidRecord,
        ),
        (
            "unknown topic",
            request(9, "unknown", 0, 1, good()),
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            "unknown partition",
            request(9, "t", 1, 1, good()),
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            "negative partition",
            request(9, "t", -1, 1, good()),
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            "internal topic",
            request(9, "__consumer_offsets", 0, 1, good()),
            ErrorCode::InvalidTopicException,
        ),
    ] {
        assert_eq!(error_of(&mut client, &request, 9).await, (expected, -1), "{case}");
    }
    let unknown_id = request(13, "unknown", 0, 1, good());
    assert_eq!(
        error_of(&mut client, &unknown_id, 13).await,
        (ErrorCode::UnknownTopicId, -1)
    );
    assert_eq!(
        produce(&mut client, "t", -1, batch(&["a"])).await.base_offset,
        0,
        "nothing of it was appended"
    );
}

#[tokio::test]
async fn bad_records_are_listed_from_version_8_on() {
    let broker = TestBroker::start().await;
    broker.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = broker.connect().await;
    let mut builder = BatchBuilder::new();
    builder.append(TimestampMs(1_000), Some(b"key"), None, &[]).unwrap();
    builder.append(TimestampMs(1_000), None, Some(b"value"), &[]).unwrap();
    let records = builder.build().unwrap().to_bytes();
    let response = client
        .call(8, &request(8, "compacted", 0, 1, Some(records.clone())))
        .await;
    let errors = &only(&response).record_errors;
    assert_eq!(errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
    assert!(only(&response).error_message.as_ref().unwrap().contains("batchIndex=1"));
    let response = client.call(7, &request(7, "compacted", 0, 1, Some(records))).await;
    assert_eq!(only(&response).error_code, ErrorCode::InvalidRecord.code());
}

#[tokio::test]
async fn timestamps_follow_the_topics_configuration() {
    let broker = TestBroker::start().await;
    broker
        .create("append-time", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    broker
        .create("bounded", 1, &[("message.timestamp.before.max.ms", "1000")])
        .await;
    let mut client = broker.connect().await;
    let answer = produce(&mut client, "append-time", -1, batch(&["a"])).await;
    assert!(answer.error_code == 0 && answer.log_append_time_ms > 1_600_000_000_000);
    let answer = produce(&mut client, "bounded", -1, batch(&["a"])).await;
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (ErrorCode::InvalidTimestamp.code(), -1)
    );
    // Configuration is followed while the broker runs.
    broker.create("bounded", 1, &[]).await;
    assert_eq!(produce(&mut client, "bounded", -1, batch(&["a"])).await.error_code, 0);
}

#[tokio::test]
async fn idempotent_producers_are_told_originals_gaps_and_fences() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(
        produce(&mut client, "t", -1, sequenced(&["a", "b"], 7, 1, 0))
            .await
            .base_offset,
        0
    );
    assert_eq!(
        produce(&mut client, "t", -1, sequenced(&["c"], 7, 1, 2))
            .await
            .base_offset,
        2
    );
    let duplicate = produce(&mut client, "t", -1, sequenced(&["a", "b"], 7, 1, 0)).await;
    assert_eq!(
        (duplicate.error_code, duplicate.base_offset),
        (0, 0),
        "the original's offset"
    );
    let gap = produce(&mut client, "t", -1, sequenced(&["x"], 7, 1, 9)).await;
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(gap.log_start_offset, 0, "filled for errors of the log (rule 13)");
    let fenced = produce(&mut client, "t", -1, sequenced(&["x"], 7, 0, 3)).await;
    assert_eq!(fenced.error_code, ErrorCode::InvalidProducerEpoch.code());
    let unknown = produce(&mut client, "t", -1, sequenced(&["d"], 8, 0, 7)).await;
    assert_eq!(
        (unknown.error_code, unknown.base_offset),
        (0, 3),
        "no state: any sequence is accepted"
    );
}

#[tokio::test]
async fn min_isr_is_capped_at_the_replication_factor_and_enforced_above() {
    let broker = TestBroker::start().await;
    broker.create("alone", 1, &[("min.insync.replicas", "2")]).await;
    let both = Partition {
        replicas: vec![NODE, NodeId(1)],
        isr: vec![NODE],
        leader: Some(NODE),
        leader_epoch: LeaderEpoch(0),
        ..Partition::default()
    };
    broker
        .create_with("short", 1, &[("min.insync.replicas", "2")], &both)
        .await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "alone", -1, batch(&["a"])).await.error_code, 0);
    let refused = produce(&mut client, "short", -1, batch(&["a"])).await;
    assert_eq!(
        (refused.error_code, refused.base_offset),
        (ErrorCode::NotEnoughReplicas.code(), -1)
    );
    assert_eq!(
        produce(&mut client, "short", 1, batch(&["a"])).await.error_code,
        0,
        "acks=1 does not ask"
    );
}

#[tokio::test]
async fn an_acknowledgement_that_does_not_come_times_out_with_the_real_offset() {
    let broker = TestBroker::start().await;
    let waiting = Partition {
        replicas: vec![NODE, NodeId(1)],
        isr: vec![NODE, NodeId(1)],
        leader: Some(NODE),
        leader_epoch: LeaderEpoch(0),
        ..Partition::default()
    };
    broker.create_with("t", 1, &[], &waiting).await;
    let mut client = broker.connect().await;
    let mut slow = request(9, "t", 0, -1, Some(batch(&["a"])));
    slow.timeout_ms = 50;
    let answer = client.call(9, &slow).await;
    assert_eq!(only(&answer).error_code, ErrorCode::RequestTimedOut.code());
    assert_eq!(only(&answer).base_offset, 0, "the record is in the log");
}

#[tokio::test]
async fn what_waits_is_answered_when_the_topic_goes_or_the_leader_moves() {
    let broker = TestBroker::start().await;
    let waiting = |epoch, leader| Partition {
        replicas: vec![NODE, NodeId(1)],
        isr: vec![NODE, NodeId(1)],
        leader: Some(leader),
        leader_epoch: LeaderEpoch(epoch),
        ..Partition::default()
    };
    for (name, version, expected) in [
        ("by-name", 9, ErrorCode::UnknownTopicOrPartition),
        ("by-id", 13, ErrorCode::UnknownTopicId),
        ("moved", 9, ErrorCode::NotLeaderOrFollower),
    ] {
        broker.create_with(name, 1, &[], &waiting(0, NODE)).await;
        let mut client = broker.connect().await;
        client
            .send(version, &request(version, name, 0, -1, Some(batch(&["a"]))))
            .await;
        wait_for_append(&broker, name).await;
        if name == "moved" {
            broker.create_with(name, 1, &[], &waiting(1, NodeId(1))).await;
        } else {
            broker.delete(name).await;
        }
        let (_, response) = client.receive::<ProduceRequest>(version).await;
        assert_eq!(ErrorCode::from_code(only(&response).error_code), expected, "{name}");
    }
}

async fn wait_for_append(broker: &TestBroker, topic: &str) {
    let partition = broker.broker.partitions().get(topic_id(topic), 0.into()).expect(topic);
    while partition.ends().unwrap().log_end.get() == 0 {
        tokio::task::yield_now().await;
    }
}
