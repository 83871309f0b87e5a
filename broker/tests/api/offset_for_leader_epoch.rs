use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use highwater_proto::kafka::messages::offset_for_leader_epoch::request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use crate::produce::produce;
use crate::support::{Client, TestBroker, batch};

fn request(topic: &str, current: i32, epoch: i32) -> OffsetForLeaderEpochRequest {
    OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: topic.into(),
            partitions: vec![OffsetForLeaderPartition {
                current_leader_epoch: current,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Error, epoch, end offset.
async fn ask(client: &mut Client, version: i16, topic: &str, current: i32, epoch: i32) -> (ErrorCode, i32, i64) {
    let response = client.call(version, &request(topic, current, epoch)).await;
    let partition = &response.topics[0].partitions[0];
    (
        ErrorCode::from_code(partition.error_code),
        partition.leader_epoch,
        partition.end_offset,
    )
}

#[tokio::test]
async fn epochs_end_where_the_next_one_begins() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(
        ask(&mut client, 4, "t", -1, 0).await,
        (ErrorCode::None, 0, 0),
        "nothing appended yet"
    );
    assert_eq!(produce(&mut client, "t", -1, batch(&["a", "b"])).await.error_code, 0);
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    for version in 2..=4 {
        // Epoch 1 leads and has no records.
        assert_eq!(ask(&mut client, version, "t", -1, 1).await, (ErrorCode::None, 1, 2));
        assert_eq!(ask(&mut client, version, "t", 1, 0).await, (ErrorCode::None, 0, 2));
        assert_eq!(ask(&mut client, version, "t", -1, 5).await, (ErrorCode::None, -1, -1));
    }
    assert_eq!(produce(&mut client, "t", -1, batch(&["c"])).await.base_offset, 2);
    assert_eq!(ask(&mut client, 4, "t", -1, 0).await, (ErrorCode::None, 0, 2));
    assert_eq!(ask(&mut client, 4, "t", -1, 1).await, (ErrorCode::None, 1, 3));
    assert_eq!(ask(&mut client, 4, "t", 0, 0).await.0, ErrorCode::FencedLeaderEpoch);
    assert_eq!(ask(&mut client, 4, "t", 2, 0).await.0, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(
        ask(&mut client, 4, "unknown", -1, 0).await.0,
        ErrorCode::UnknownTopicOrPartition
    );
}
