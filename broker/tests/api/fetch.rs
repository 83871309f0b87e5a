use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::fetch::request::{FetchPartition, FetchTopic, ForgottenTopic};
use highwater_proto::kafka::messages::fetch::response::PartitionData;
use highwater_proto::kafka::messages::fetch::{FetchRequest, FetchResponse};
use highwater_proto::record::{Batches, RecordIter};
use highwater_proto::types::TopicId;
use tokio::time::Instant;

use crate::produce::{produce, request as produce_request};
use crate::support::{Client, TestBroker, batch, topic_id};

/// Waits for nothing.
pub fn request(version: i16, topic: &str, index: i32, offset: i64) -> FetchRequest {
    let by_id = version >= 13;
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: if by_id { "".into() } else { topic.into() },
            topic_id: if by_id { topic_id(topic).0 } else { TopicId::ZERO.0 },
            partitions: vec![FetchPartition {
                partition: index,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn only(response: &FetchResponse) -> &PartitionData {
    assert_eq!(response.error_code, 0);
    assert_eq!(response.responses.len(), 1, "{response:?}");
    assert_eq!(response.responses[0].partitions.len(), 1);
    &response.responses[0].partitions[0]
}

/// The values of all records.
pub fn values(records: Option<&Bytes>) -> Vec<String> {
    let mut batches = Batches::new(records.cloned().unwrap_or_default());
    let mut values = Vec::new();
    for batch in batches.by_ref() {
        let batch = batch.unwrap();
        assert!(batch.verify_crc());
        for record in RecordIter::new(&batch.header, &batch.records) {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    assert!(batches.rest().is_empty(), "only whole batches");
    values
}

async fn fetch(client: &mut Client, topic: &str, offset: i64) -> PartitionData {
    only(&client.call(12, &request(12, topic, 0, offset)).await).clone()
}

async fn with_topic(configs: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start().await;
    broker.create("t", 2, configs).await;
    let client = broker.connect().await;
    (broker, client)
}

#[tokio::test]
async fn every_version_returns_what_was_produced() {
    let (_broker, mut client) = with_topic(&[]).await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["a", "b"])).await.error_code, 0);
    assert_eq!(produce(&mut client, "t", -1, batch(&["c"])).await.error_code, 0);
    for version in 4..=18 {
        let response = client.call(version, &request(version, "t", 0, 0)).await;
        let partition = only(&response);
        assert_eq!(partition.error_code, 0);
        assert_eq!(values(partition.records.as_ref()), ["a", "b", "c"], "version {version}");
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (3, 3));
        assert_eq!(partition.aborted_transactions, None, "null for read_uncommitted");
        if version >= 5 {
            assert_eq!(partition.log_start_offset, 0);
        }
    }
    let mut committed = request(12, "t", 0, 2);
    committed.isolation_level = 1;
    let response = client.call(12, &committed).await;
    assert_eq!(
        values(only(&response).records.as_ref()),
        ["c"],
        "the batch that holds the offset"
    );
    assert_eq!(only(&response).aborted_transactions, Some(Vec::new()));
}

#[tokio::test]
async fn large_records_arrive_whole() {
    // Above 64 KiB the kernel copies from the file to the socket, over several partial writes.
    let (_broker, mut client) = with_topic(&[("max.message.bytes", "4000000")]).await;
    let large = "x".repeat(3_000_000);
    assert_eq!(produce(&mut client, "t", 1, batch(&[&large])).await.error_code, 0);
    assert_eq!(produce(&mut client, "t", -1, batch(&["after"])).await.error_code, 0);
    let response = client.call(12, &request(12, "t", 0, 0)).await;
    assert_eq!(
        values(only(&response).records.as_ref()),
        [large],
        "one batch, although it is larger than max bytes"
    );
    assert_eq!(values(fetch(&mut client, "t", 1).await.records.as_ref()), ["after"]);
}

#[tokio::test]
async fn offsets_outside_of_the_log_and_wrong_epochs_are_refused() {
    let (_broker, mut client) = with_topic(&[]).await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["a"])).await.error_code, 0);
    for offset in [-1, 2, 99] {
        let partition = fetch(&mut client, "t", offset).await;
        assert_eq!(
            partition.error_code,
            ErrorCode::OffsetOutOfRange.code(),
            "offset {offset}"
        );
        assert_eq!((partition.high_watermark, partition.log_start_offset), (-1, -1));
    }
    let end = fetch(&mut client, "t", 1).await;
    assert_eq!((end.error_code, end.high_watermark), (0, 1));
    assert_eq!(end.records, Some(Bytes::new()), "an empty set, not null");
    let mut newer = request(12, "t", 0, 0);
    newer.topics[0].partitions[0].current_leader_epoch = 5;
    let response = client.call(12, &newer).await;
    assert_eq!(only(&response).error_code, ErrorCode::UnknownLeaderEpoch.code());
    let response = client.call(12, &request(12, "unknown", 0, 0)).await;
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
    let response = client.call(13, &request(13, "unknown", 0, 0)).await;
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn a_reader_that_went_another_way_is_told_where() {
    let (broker, mut client) = with_topic(&[]).await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["a"])).await.error_code, 0);
    let broker = broker.restart().await;
    let mut client = {
        drop(client);
        broker.connect().await
    };
    assert_eq!(produce(&mut client, "t", -1, batch(&["b"])).await.error_code, 0);
    let mut diverged = request(12, "t", 0, 2);
    diverged.topics[0].partitions[0].last_fetched_epoch = 0;
    let response = client.call(12, &diverged).await;
    let partition = only(&response);
    assert_eq!(
        (partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset),
        (0, 1)
    );
    assert_eq!(partition.records, Some(Bytes::new()));
    diverged.topics[0].partitions[0].last_fetched_epoch = 1;
    let response = client.call(12, &diverged).await;
    assert_eq!(only(&response).diverging_epoch.epoch, -1, "the same way");
}

#[tokio::test]
async fn a_long_poll_is_woken_by_an_append_and_not_before() {
    let (broker, mut client) = with_topic(&[]).await;
    let mut waiting = request(12, "t", 0, 0);
    waiting.max_wait_ms = 8_000;
    let started = Instant::now();
    client.send(12, &waiting).await;
    let mut producer = broker.connect().await;
    assert_eq!(produce(&mut producer, "t", -1, batch(&["a"])).await.error_code, 0);
    let (_, response) = client.receive::<FetchRequest>(12).await;
    assert_eq!(values(only(&response).records.as_ref()), ["a"]);
    assert!(started.elapsed() < Duration::from_secs(4), "woken, not timed out");
    waiting.topics[0].partitions[0].fetch_offset = 1;
    waiting.max_wait_ms = 60;
    let started = Instant::now();
    let response = client.call(12, &waiting).await;
    assert_eq!(only(&response).records, Some(Bytes::new()));
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_long_poll_waits_for_min_bytes_over_all_partitions() {
    let (broker, mut client) = with_topic(&[]).await;
    let one = batch(&["0123456789"]);
    let mut waiting = request(12, "t", 0, 0);
    waiting.max_wait_ms = 8_000;
    waiting.min_bytes = one.len() as i32 * 3;
    let other = FetchPartition {
        partition: 1,
        ..waiting.topics[0].partitions[0].clone()
    };
    waiting.topics[0].partitions.push(other);
    client.send(12, &waiting).await;
    let mut producer = broker.connect().await;
    for index in [0, 1, 0] {
        let sent = produce_request(9, "t", index, -1, Some(one.clone()));
        assert_eq!(
            producer.call(9, &sent).await.responses[0].partition_responses[0].error_code,
            0
        );
    }
    let (_, response) = client.receive::<FetchRequest>(12).await;
    let counts: Vec<usize> = response.responses[0]
        .partitions
        .iter()
        .map(|it| values(it.records.as_ref()).len())
        .collect();
    assert_eq!(counts, [2, 1], "answered when the third batch came, not before");
}

#[tokio::test]
async fn a_partition_that_does_not_exist_does_not_end_the_wait_for_the_others() {
    let (_broker, mut client) = with_topic(&[]).await;
    for version in [12, 13] {
        let mut waiting = request(version, "t", 0, 0);
        waiting.max_wait_ms = 300;
        let mut unknown = waiting.topics[0].partitions[0].clone();
        unknown.partition = 99;
        waiting.topics[0].partitions.push(unknown);
        let began = Instant::now();
        let response = client.call(version, &waiting).await;
        assert!(began.elapsed() >= Duration::from_millis(300), "version {version}");
        let codes = response.responses[0].partitions.iter().map(|it| it.error_code);
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(codes.collect::<Vec<_>>(), [0, unknown]);
        // Alone it has nothing to wait for.
        waiting.topics[0].partitions.remove(0);
        let began = Instant::now();
        assert_eq!(only(&client.call(version, &waiting).await).error_code, unknown);
        assert!(began.elapsed() < Duration::from_millis(300), "version {version}");
    }
}

#[tokio::test]
async fn a_long_poll_ends_when_the_topic_is_deleted() {
    let (broker, mut client) = with_topic(&[]).await;
    let mut waiting = request(12, "t", 0, 0);
    waiting.max_wait_ms = 8_000;
    client.send(12, &waiting).await;
    let mut other = broker.connect().await;
    // The wait has begun once a later request on the same broker is answered and a little time has passed.
    let _ = fetch(&mut other, "t", 0).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    broker.delete("t").await;
    let (_, response) = client.receive::<FetchRequest>(12).await;
    assert_eq!(only(&response).error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn limits_on_bytes_hold_but_for_the_first_batch() {
    let (_broker, mut client) = with_topic(&[]).await;
    let one = batch(&["0123456789"]);
    for index in [0, 0, 0, 1] {
        let sent = produce_request(9, "t", index, -1, Some(one.clone()));
        assert_eq!(
            client.call(9, &sent).await.responses[0].partition_responses[0].error_code,
            0
        );
    }
    let mut limited = request(12, "t", 0, 0);
    limited.topics[0].partitions[0].partition_max_bytes = one.len() as i32 * 2 + 1;
    let response = client.call(12, &limited).await;
    assert_eq!(values(only(&response).records.as_ref()).len(), 2);
    limited.topics[0].partitions[0].partition_max_bytes = 1;
    limited.max_bytes = 1;
    let other = FetchPartition {
        partition: 1,
        ..limited.topics[0].partitions[0].clone()
    };
    limited.topics[0].partitions.push(other);
    let response = client.call(12, &limited).await;
    let counts: Vec<usize> = response.responses[0]
        .partitions
        .iter()
        .map(|it| values(it.records.as_ref()).len())
        .collect();
    assert_eq!(counts, [1, 0], "at least one batch, then nothing that does not fit");
}

#[tokio::test]
async fn sessions_carry_only_what_changed() {
    let (broker, mut client) = with_topic(&[]).await;
    let mut full = request(12, "t", 0, 0);
    full.session_epoch = 0;
    let other = FetchPartition {
        partition: 1,
        ..full.topics[0].partitions[0].clone()
    };
    full.topics[0].partitions.push(other);
    let response = client.call(12, &full).await;
    let id = response.session_id;
    assert_ne!(id, 0);
    assert_eq!(response.responses[0].partitions.len(), 2);
    let incremental = |epoch| FetchRequest {
        session_id: id,
        session_epoch: epoch,
        topics: Vec::new(),
        ..full.clone()
    };
    assert!(
        client.call(12, &incremental(1)).await.responses.is_empty(),
        "nothing is new"
    );
    let mut producer = broker.connect().await;
    let sent = produce_request(9, "t", 1, -1, Some(batch(&["a"])));
    assert_eq!(
        producer.call(9, &sent).await.responses[0].partition_responses[0].error_code,
        0
    );
    let response = client.call(12, &incremental(2)).await;
    assert_eq!(only(&response).partition_index, 1);
    assert_eq!(values(only(&response).records.as_ref()), ["a"]);
    let wrong = client.call(12, &incremental(2)).await;
    assert_eq!(wrong.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    assert!(wrong.responses.is_empty());
    let mut unknown = incremental(3);
    unknown.session_id = id ^ 1;
    assert_eq!(
        client.call(12, &unknown).await.error_code,
        ErrorCode::FetchSessionIdNotFound.code()
    );
    let mut forget = incremental(3);
    forget.forgotten_topics_data = vec![ForgottenTopic {
        topic: "t".into(),
        partitions: vec![0, 1],
        ..Default::default()
    }];
    let closed = client.call(12, &forget).await;
    assert_eq!(
        (closed.error_code, closed.session_id),
        (0, 0),
        "an empty session is closed"
    );
}

#[tokio::test]
async fn consumers_do_not_see_what_is_not_committed() {
    use highwater_proto::metadata::Partition;
    use highwater_proto::types::{LeaderEpoch, NodeId};

    use crate::support::NODE;
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
    assert_eq!(produce(&mut client, "t", 1, batch(&["a", "b"])).await.error_code, 0);
    let partition = fetch(&mut client, "t", 0).await;
    assert_eq!((partition.error_code, partition.high_watermark), (0, 0));
    assert_eq!(partition.records, Some(Bytes::new()));
    assert_eq!(
        fetch(&mut client, "t", 1).await.error_code,
        0,
        "in the log, so not out of range"
    );
    assert_eq!(
        fetch(&mut client, "t", 3).await.error_code,
        ErrorCode::OffsetOutOfRange.code()
    );
}

/// Writes back and drops what the page cache holds of a topic's log. A page that the flusher is writing at that moment
/// stays, so that it takes more than one attempt now and then.
fn cool_down(broker: &TestBroker, partition: &str) {
    let file = std::fs::File::open(broker.data_dir().join(partition).join("00000000000000000000.log")).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut byte = [0];
        let nowait = rustix::io::ReadWriteFlags::NOWAIT;
        let read = rustix::io::preadv2(&file, &mut [std::io::IoSliceMut::new(&mut byte)], 0, nowait);
        if read == Err(rustix::io::Errno::AGAIN) {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "still in the page cache ({read:?}): the test would prove nothing"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn records_that_left_the_page_cache_are_read_from_disk() {
    let (broker, mut client) = with_topic(&[]).await;
    let mut expected = Vec::new();
    for index in 0..40 {
        let value = format!("{index}-{}", "x".repeat(if index % 2 == 0 { 100 } else { 90_000 }));
        assert_eq!(produce(&mut client, "t", -1, batch(&[&value])).await.error_code, 0);
        expected.push(value);
    }
    // Above and below the size from which on the kernel copies, the second time by a reader that is known to be cold.
    for max_bytes in [1 << 20, 50_000, 200_000] {
        let mut read = Vec::new();
        while read.len() < expected.len() {
            cool_down(&broker, "t-0");
            let mut next = request(12, "t", 0, read.len() as i64);
            next.max_wait_ms = 100;
            next.topics[0].partitions[0].partition_max_bytes = max_bytes;
            read.extend(values(only(&client.call(12, &next).await).records.as_ref()));
        }
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn with_write_caching_nothing_waits_for_the_disk_but_what_flush_messages_and_flush_ms_ask_for() {
    let (broker, mut client) = with_topic(&[]).await;
    broker.create("cached", 1, &[("write.caching", "true")]).await;
    broker
        .create("counted", 1, &[("write.caching", "true"), ("flush.messages", "1")])
        .await;
    broker
        .create("timed", 1, &[("write.caching", "true"), ("flush.ms", "500")])
        .await;
    // That they cache has to be on record before they do.
    let on_record = || std::fs::read_to_string(broker.data_dir().join("trust-checkpoint")).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(8);
    while on_record().matches("caching").count() < 3 {
        assert!(Instant::now() < deadline, "never on record");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    for topic in ["cached", "t", "counted", "timed"] {
        assert_eq!(produce(&mut client, topic, -1, batch(&["a"])).await.error_code, 0);
        assert_eq!(fetch(&mut client, topic, 0).await.high_watermark, 1);
    }
    let flushed = |topic: &str| {
        let text = std::fs::read_to_string(broker.data_dir().join("flush-point")).unwrap_or_default();
        text.lines().any(|line| line.starts_with(topic))
    };
    for topic in ["t ", "counted ", "timed "] {
        while !flushed(topic) {
            assert!(Instant::now() < deadline, "{topic}was never flushed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(!flushed("cached "));
}
