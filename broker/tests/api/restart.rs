use highwater_proto::kafka::ErrorCode;

use crate::fetch::{only, request as fetch_request, values};
use crate::produce::produce;
use crate::support::{TestBroker, batch, sequenced, topic_id};

#[tokio::test]
async fn records_and_producers_survive_a_restart() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(
        produce(&mut client, "t", -1, sequenced(&["a", "b"], 7, 0, 0))
            .await
            .base_offset,
        0
    );
    drop(client);
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    assert_eq!(values(only(&response).records.as_ref()), ["a", "b"]);
    let duplicate = produce(&mut client, "t", -1, sequenced(&["a", "b"], 7, 0, 0)).await;
    assert_eq!((duplicate.error_code, duplicate.base_offset), (0, 0));
    assert_eq!(
        produce(&mut client, "t", -1, sequenced(&["c"], 7, 0, 2))
            .await
            .base_offset,
        2
    );
    let gap = produce(&mut client, "t", -1, sequenced(&["x"], 7, 0, 9)).await;
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
}

#[tokio::test]
async fn a_deleted_topic_leaves_room_for_one_of_the_same_name() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["old"])).await.error_code, 0);
    broker.delete("t").await;
    assert!(broker.broker.partitions().get(topic_id("t"), 0.into()).is_none());
    let names = || -> Vec<String> {
        std::fs::read_dir(broker.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("t-0"))
            .collect()
    };
    assert!(names().iter().all(|name| name.ends_with("-delete")), "{:?}", names());
    broker.create("t", 1, &[]).await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["new"])).await.base_offset, 0);
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    assert_eq!(values(only(&response).records.as_ref()), ["new"]);
}

#[tokio::test]
async fn partitions_that_the_cluster_does_not_know_are_moved_aside_not_deleted() {
    let mut broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["a"])).await.error_code, 0);
    drop(client);
    let dir = broker.stop().await;
    drop(broker);
    // The image of the next start has never heard of the topic.
    let broker = TestBroker::start_on(dir).await;
    let names: Vec<String> = std::fs::read_dir(broker.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("t-0"))
        .collect();
    assert_eq!(names.len(), 1);
    assert!(names[0].ends_with("-stray"), "{names:?}");
}
