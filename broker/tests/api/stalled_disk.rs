//! A disk on which a flush takes long: what the network workers leave to others then.

use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::types::Offset;

use crate::fetch::{only as fetched, request as fetch_request, values};
use crate::produce::{only, produce, request};
use crate::stall::{appended_by, stall};
use crate::support::{Client, TestBroker, batch, topic_id};

async fn one_more(client: &mut Client) {
    assert_eq!(produce(client, "t", 1, batch(&["a"])).await.error_code, 0);
}

/// "A worker never appends to a disk whose flush is older than 100 ms: such appends queue, bounded, on a blocking
/// thread." All network workers of this broker are the thread of the test.
#[tokio::test]
async fn a_worker_never_appends_to_a_disk_whose_flush_is_older_than_100_ms() {
    let worker = std::thread::current().id();
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let partition = broker.broker.partitions().get(topic_id("t"), 0.into()).unwrap();
    let mut client = broker.connect().await;
    assert_ne!(
        appended_by(&partition, one_more(&mut client)).await,
        worker,
        "the first append creates files"
    );
    assert_eq!(appended_by(&partition, one_more(&mut client)).await, worker);

    let flusher = broker.broker.partitions().flusher();
    let let_go = stall(flusher).await;
    for _ in 0..3 {
        assert_ne!(appended_by(&partition, one_more(&mut client)).await, worker);
    }
    // More than are let in at a time, each connection with several on the way.
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = broker.connect().await;
        for _ in 0..3 {
            client.send(9, &request(9, "t", 0, 1, Some(batch(&["a"])))).await;
        }
        clients.push(client);
    }
    let mut offsets = Vec::new();
    for client in &mut clients {
        let mut own = Vec::new();
        for _ in 0..3 {
            let (_, response) = client.receive::<ProduceRequest>(9).await;
            assert_eq!(only(&response).error_code, 0);
            own.push(only(&response).base_offset);
        }
        assert!(own.is_sorted(), "in the order of arrival");
        offsets.extend(own);
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (5..65).collect::<Vec<_>>());

    drop(let_go);
    while !flusher.oldest_unfinished().is_zero() {
        tokio::task::yield_now().await;
    }
    assert_eq!(appended_by(&partition, one_more(&mut client)).await, worker);
    assert_eq!(produce(&mut client, "t", -1, batch(&["end"])).await.error_code, 0);
    assert_eq!(partition.ends().unwrap().high_watermark, Offset(67));
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    assert_eq!(values(fetched(&response).records.as_ref()).len(), 67);
}
