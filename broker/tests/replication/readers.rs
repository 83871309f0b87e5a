//! Consumers that read from followers, and records that are deleted everywhere.

use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::delete_records::request::{DeleteRecordsPartition, DeleteRecordsTopic};
use highwater_proto::kafka::messages::delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
use highwater_proto::kafka::messages::fetch::response::PartitionData;
use tokio::time::Instant;

use crate::cluster::{Cluster, FETCH_VERSION, fetch, fetch_request, produce, records, until};
use crate::support::{Client, batch};

const SELECTOR: (&str, &str) = (
    "replica.selector.class",
    "org.apache.kafka.common.replica.RackAwareReplicaSelector",
);

async fn fetch_from_rack(client: &mut Client, rack: &str, offset: i64, max_wait_ms: i32) -> PartitionData {
    let mut request = fetch_request("t", offset, max_wait_ms);
    request.rack_id = rack.into();
    let response = client.call(FETCH_VERSION, &request).await;
    response.responses[0].partitions[0].clone()
}

#[tokio::test]
async fn a_consumer_is_sent_to_the_replica_in_its_rack_and_reads_there() {
    let cluster = Cluster::start(&[SELECTOR]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "3")]).await;
    let mut leader = cluster.client(0).await;
    assert_eq!(produce(&mut leader, "t", 0, -1, batch(&["a"])).await.error_code, 0);

    let redirected = fetch_from_rack(&mut leader, "rack-2", 1, 60_000).await;
    assert_eq!((redirected.error_code, redirected.preferred_read_replica), (0, 2));
    assert!(redirected.records.unwrap_or_default().is_empty());
    for own in ["rack-0", "elsewhere", ""] {
        let data = fetch_from_rack(&mut leader, own, 0, 0).await;
        assert_eq!((data.preferred_read_replica, records(&data).len()), (-1, 1), "{own:?}");
    }

    let mut follower = cluster.client(2).await;
    until("the follower knows the high watermark", || {
        cluster.replica(2, "t", 0).ends().unwrap().high_watermark.get() == 1
    })
    .await;
    let data = fetch_from_rack(&mut follower, "rack-2", 0, 0).await;
    assert_eq!(
        (data.preferred_read_replica, records(&data)),
        (-1, vec![("a".to_owned(), 0)])
    );

    // What comes later arrives at once, although nothing else is appended.
    let start = Instant::now();
    let waiting = tokio::spawn(async move { fetch_from_rack(&mut follower, "rack-2", 1, 20_000).await });
    // The fetch has to wait already.
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(produce(&mut leader, "t", 0, -1, batch(&["b"])).await.error_code, 0);
    assert_eq!(records(&waiting.await.unwrap()), [("b".to_owned(), 0)]);
    assert!(
        start.elapsed() < Duration::from_millis(450),
        "not at the next of the follower's long waits"
    );

    // Beyond what the follower has, and for clients that do not know of followers.
    let mut follower = cluster.client(2).await;
    assert_eq!(
        fetch(&mut follower, "t", 99).await.error_code,
        ErrorCode::OffsetOutOfRange.code()
    );
    let old = follower.call(10, &fetch_request("t", 0, 0)).await;
    assert_eq!(
        old.responses[0].partitions[0].error_code,
        ErrorCode::NotLeaderOrFollower.code()
    );
}

#[tokio::test]
async fn without_a_selector_everybody_reads_from_the_leader() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[]).await;
    let mut leader = cluster.client(0).await;
    assert_eq!(produce(&mut leader, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    let data = fetch_from_rack(&mut leader, "rack-2", 0, 0).await;
    assert_eq!((data.preferred_read_replica, records(&data).len()), (-1, 1));
}

async fn delete(client: &mut Client, offset: i64, timeout_ms: i32) -> (i16, i64) {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms,
        ..Default::default()
    };
    let response: DeleteRecordsResponse = client.call(2, &request).await;
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.low_watermark)
}

#[tokio::test]
async fn records_are_deleted_on_all_live_replicas_before_the_answer() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "1")]).await;
    let mut client = cluster.client(0).await;
    for _ in 0..4 {
        assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    }
    assert_eq!(delete(&mut client, 3, 9_000).await, (0, 3));
    for broker in 0..3 {
        let start = cluster.replica(broker, "t", 0).ends().unwrap().log_start.get();
        assert_eq!(start, 3, "broker {broker}");
    }
    // One that does not answer: done here, but the client is told that it is not everywhere.
    cluster.stop(2).await;
    assert_eq!(
        delete(&mut client, 4, 50).await,
        (ErrorCode::RequestTimedOut.code(), -1)
    );
    assert_eq!(cluster.replica(0, "t", 0).ends().unwrap().log_start.get(), 4);
}
