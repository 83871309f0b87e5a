//! DeleteRecords and DescribeLogDirs.

use bytes::Bytes;
use highwater_proto::kafka::messages::delete_records::DeleteRecordsRequest;
use highwater_proto::kafka::messages::delete_records::request::{DeleteRecordsPartition, DeleteRecordsTopic};
use highwater_proto::kafka::messages::describe_log_dirs::DescribeLogDirsRequest;
use highwater_proto::kafka::messages::describe_log_dirs::request::DescribableLogDirTopic;
use highwater_proto::kafka::messages::list_offsets::ListOffsetsRequest;
use highwater_proto::kafka::messages::list_offsets::request::{ListOffsetsPartition, ListOffsetsTopic};
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};

use crate::cluster::Cluster;
use crate::support::{Client, batch};

/// Produces to partition 0 and waits until it is below the high watermark.
pub async fn produce(client: &mut Client, topic: &str, records: Bytes) -> i16 {
    let data = PartitionProduceData {
        index: 0,
        records: Some(records),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: topic.into(),
        partition_data: vec![data],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 5_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    client.call(9, &request).await.responses[0].partition_responses[0].error_code
}

/// Low watermark and error code.
async fn delete(client: &mut Client, topic: &str, partition: i32, offset: i64) -> (i64, i16) {
    let partition = DeleteRecordsPartition {
        partition_index: partition,
        offset,
        ..Default::default()
    };
    let topic = DeleteRecordsTopic {
        name: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = DeleteRecordsRequest {
        topics: vec![topic],
        timeout_ms: 5_000,
        ..Default::default()
    };
    let answer = client.call(2, &request).await;
    let result = &answer.topics[0].partitions[0];
    (result.low_watermark, result.error_code)
}

async fn earliest(client: &mut Client, topic: &str) -> i64 {
    let partition = ListOffsetsPartition {
        partition_index: 0,
        timestamp: -2,
        ..Default::default()
    };
    let topic = ListOffsetsTopic {
        name: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![topic],
        ..Default::default()
    };
    client.call(7, &request).await.topics[0].partitions[0].offset
}

#[tokio::test]
async fn rule_100_records_are_deleted_up_to_an_offset() {
    let cluster = Cluster::start().await;
    cluster.create("t", 1, &[]).await;
    let mut client = cluster.connect().await;
    assert_eq!(produce(&mut client, "t", batch(&["a", "b", "c", "d"])).await, 0);

    assert_eq!(
        delete(&mut client, "t", 0, 5).await,
        (-1, 1),
        "beyond the high watermark"
    );
    assert_eq!(delete(&mut client, "t", 0, -2).await, (-1, 1));
    assert_eq!(earliest(&mut client, "t").await, 0, "nothing is deleted yet");
    assert_eq!(delete(&mut client, "t", 0, 2).await, (2, 0));
    assert_eq!(earliest(&mut client, "t").await, 2);
    assert_eq!(
        delete(&mut client, "t", 0, 1).await,
        (2, 0),
        "below the log start nothing changes"
    );
    assert_eq!(delete(&mut client, "t", 0, -1).await, (4, 0), "all that can be read");
    assert_eq!(earliest(&mut client, "t").await, 4);
}

#[tokio::test]
async fn rule_100_what_records_cannot_be_deleted_of() {
    let cluster = Cluster::start().await;
    cluster.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    cluster.create("both", 1, &[("cleanup.policy", "compact,delete")]).await;
    let mut client = cluster.connect().await;
    assert_eq!(delete(&mut client, "x", 0, 0).await, (-1, 3));
    assert_eq!(delete(&mut client, "both", 1, 0).await, (-1, 3), "no such partition");
    assert_eq!(delete(&mut client, "both", 0, 0).await, (0, 0));
    assert_eq!(delete(&mut client, "compacted", 0, 0).await, (-1, 44));
    assert_eq!(delete(&mut client, "__consumer_offsets", 0, 0).await, (-1, 17));
}

#[tokio::test]
async fn the_last_offset_counts_of_a_partition_that_is_named_again() {
    let cluster = Cluster::start().await;
    cluster.create("t", 2, &[]).await;
    let mut client = cluster.connect().await;
    assert_eq!(produce(&mut client, "t", batch(&["a", "b", "c", "d"])).await, 0);
    let partition = |partition_index, offset| DeleteRecordsPartition {
        partition_index,
        offset,
        ..Default::default()
    };
    let topic = |partitions| DeleteRecordsTopic {
        name: "t".into(),
        partitions,
        ..Default::default()
    };
    let request = DeleteRecordsRequest {
        topics: vec![
            topic(vec![partition(0, 3), partition(0, 2)]),
            topic(vec![partition(1, 0), partition(0, 1)]),
        ],
        timeout_ms: 5_000,
        ..Default::default()
    };
    let answer = client.call(2, &request).await;
    let rows = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let rows: Vec<_> = rows
        .map(|it| (it.partition_index, it.low_watermark, it.error_code))
        .collect();
    assert_eq!(rows, [(0, 1, 0), (1, 0, 0)]);
    assert_eq!(earliest(&mut client, "t").await, 1, "neither 2 nor 3");
}

#[tokio::test]
async fn log_dirs_name_the_size_of_partitions_and_disk() {
    let cluster = Cluster::start().await;
    cluster.create("t", 2, &[]).await;
    cluster.create("u", 1, &[]).await;
    let mut client = cluster.connect().await;
    let records = batch(&["some", "records"]);
    let size = records.len() as i64;
    assert_eq!(produce(&mut client, "t", records).await, 0);

    let mut describe = async |topics| {
        let request = DescribeLogDirsRequest {
            topics,
            ..Default::default()
        };
        client.call(4, &request).await.results.remove(0)
    };
    let all = describe(None).await;
    let sizes = |result: &highwater_proto::kafka::messages::describe_log_dirs::response::DescribeLogDirsResult| {
        let topics = result
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.clone())));
        topics
            .map(|(name, p)| (name, p.partition_index, p.partition_size, p.offset_lag))
            .collect::<Vec<_>>()
    };
    let expected = [("t", 0, size), ("t", 1, 0), ("u", 0, 0)];
    assert_eq!(
        sizes(&all),
        expected.map(|(name, index, size)| (name.to_owned(), index, size, 0))
    );
    assert!(all.log_dir.starts_with('/') && all.error_code == 0);
    assert!(all.total_bytes >= all.usable_bytes && all.usable_bytes > 0);

    let one = DescribableLogDirTopic {
        topic: "t".into(),
        partitions: vec![1],
        ..Default::default()
    };
    assert_eq!(sizes(&describe(Some(vec![one])).await), [("t".to_owned(), 1, 0, 0)]);
}

#[tokio::test]
async fn log_dirs_do_not_count_what_is_filled_ahead_of_batches() {
    let cluster = Cluster::start().await;
    cluster.create("t", 1, &[]).await;
    let mut client = cluster.connect().await;
    let size = batch(&["a record"]).len() as i64;
    for _ in 0..5 {
        assert_eq!(produce(&mut client, "t", batch(&["a record"])).await, 0);
    }
    let request = DescribeLogDirsRequest {
        topics: None,
        ..Default::default()
    };
    let dir = client.call(4, &request).await.results.remove(0);
    let segment = std::path::Path::new(&*dir.log_dir).join("t-0/00000000000000000000.log");
    let length = std::fs::metadata(segment).unwrap().len() as i64;
    assert!(
        length > 5 * size,
        "{length} bytes: nothing was filled ahead, the test would prove nothing"
    );
    assert_eq!(dir.topics[0].partitions[0].partition_size, 5 * size);
}
