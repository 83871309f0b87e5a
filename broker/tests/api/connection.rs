use std::time::Duration;

use highwater_proto::kafka::messages::api_versions::ApiVersionsRequest;
use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::kafka::{ApiKey, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fetch::{request as fetch_request, values};
use crate::produce::{only, produce, request as produce_request};
use crate::support::{LIMIT, TestBroker, batch, frame};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_appended_in_order() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    let mut bytes = Vec::new();
    for index in 0..300 {
        let value = format!("value-{index}");
        let request = produce_request(9, "t", 0, [1, -1][index as usize % 2], Some(batch(&[&value])));
        bytes.extend_from_slice(&frame(ApiKey::Produce, 9, index, &request));
    }
    // More than may be under way at a time, in two writes that cut a request in the middle.
    let (first, second) = bytes.split_at(bytes.len() / 2 + 3);
    client.stream.write_all(first).await.unwrap();
    client.stream.write_all(second).await.unwrap();
    for index in 0..300 {
        let (correlation, response) = client.receive::<ProduceRequest>(9).await;
        assert_eq!((correlation, only(&response).base_offset), (index, i64::from(index)));
    }
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    let expected: Vec<String> = (0..300).map(|index| format!("value-{index}")).collect();
    assert_eq!(values(response.responses[0].partitions[0].records.as_ref()), expected);
}

#[tokio::test]
async fn a_long_poll_delays_later_answers_but_not_later_appends() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    broker.create("quiet", 1, &[]).await;
    let mut client = broker.connect().await;
    let mut waiting = fetch_request(12, "t", 0, 0);
    waiting.max_wait_ms = 8_000;
    client.send(12, &waiting).await;
    // The append behind the fetch is what wakes it.
    client
        .send(9, &produce_request(9, "t", 0, 1, Some(batch(&["a"]))))
        .await;
    let (_, fetched) = client.receive::<FetchRequest>(12).await;
    assert_eq!(values(fetched.responses[0].partitions[0].records.as_ref()), ["a"]);
    let (_, produced) = client.receive::<ProduceRequest>(9).await;
    assert_eq!(only(&produced).base_offset, 0);
}

#[tokio::test]
async fn hostile_frames_close_the_connection_and_nothing_else() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let good = frame(
        ApiKey::Produce,
        9,
        1,
        &produce_request(9, "t", 0, 1, Some(batch(&["a"]))),
    );
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("zero length", vec![0, 0, 0, 0]),
        ("negative length", vec![0xff, 0xff, 0xff, 0xff]),
        ("larger than allowed", vec![0x7f, 0xff, 0xff, 0xff]),
        ("shorter than a header", vec![0, 0, 0, 3, 0, 0, 0]),
        ("unknown api", with(4, &999_i16.to_be_bytes())),
        ("negative api", with(4, &(-1_i16).to_be_bytes())),
        ("version too new", with(6, &99_i16.to_be_bytes())),
        ("version too old", with(6, &2_i16.to_be_bytes())),
        ("negative version", with(6, &(-1_i16).to_be_bytes())),
        ("client id longer than the frame", with(12, &0x7fff_i16.to_be_bytes())),
        ("no body", without_body(good.clone())),
        ("array of 2^31 elements", huge_array()),
    ];
    let mut witness = broker.connect().await;
    for (case, bytes) in cases {
        let mut client = broker.connect().await;
        client.stream.write_all(&bytes).await.unwrap();
        assert!(client.is_closed().await, "{case}");
        assert_eq!(
            produce(&mut witness, "t", 1, batch(&["a"])).await.error_code,
            0,
            "after {case}"
        );
    }
}

/// The frame of a request that ends with its header.
fn without_body(mut frame: Vec<u8>) -> Vec<u8> {
    frame.truncate(4 + 8 + 2 + "test".len() + 1);
    let size = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

/// An array length and nothing behind it, in a version that is not flexible.
fn huge_array() -> Vec<u8> {
    let request = highwater_proto::kafka::messages::list_offsets::ListOffsetsRequest::default();
    let mut frame = frame(ApiKey::ListOffsets, 1, 1, &request);
    let at = frame.len() - 4;
    frame[at..].copy_from_slice(&i32::MAX.to_be_bytes());
    frame
}

#[tokio::test]
async fn requests_before_a_hostile_one_are_answered() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    let mut bytes = frame(
        ApiKey::Produce,
        9,
        5,
        &produce_request(9, "t", 0, -1, Some(batch(&["a"]))),
    );
    bytes.extend_from_slice(&[0; 4]);
    client.stream.write_all(&bytes).await.unwrap();
    let (correlation, _) = client.receive::<ProduceRequest>(9).await;
    assert_eq!(correlation, 5);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_request_may_come_in_byte_by_byte() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for byte in frame(
        ApiKey::Produce,
        9,
        1,
        &produce_request(9, "t", 0, 1, Some(batch(&["a"]))),
    ) {
        client.stream.write_all(&[byte]).await.unwrap();
    }
    let (_, response) = client.receive::<ProduceRequest>(9).await;
    assert_eq!(only(&response).error_code, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut producer = broker.connect().await;
    let value = "x".repeat(500_000);
    assert_eq!(produce(&mut producer, "t", -1, batch(&[&value])).await.error_code, 0);
    let mut greedy = broker.connect().await;
    let request = frame(ApiKey::Fetch, 12, 1, &fetch_request(12, "t", 0, 0));
    // Every answer is half a megabyte: without back-pressure the broker would take all requests.
    let mut sent = 0;
    let flood = async {
        for _ in 0..200_000 {
            greedy.stream.write_all(&request).await.unwrap();
            sent += 1;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(700), flood).await.is_err(),
        "all requests were taken"
    );
    assert!(sent > 100);
    // The others do not notice, and what was taken is answered.
    assert_eq!(produce(&mut producer, "t", -1, batch(&["b"])).await.error_code, 0);
    for _ in 0..100 {
        let mut frame = greedy.receive_frame().await.unwrap();
        let _correlation = frame.split_to(5);
        assert!(frame.len() > 500_000);
        let response = highwater_proto::kafka::messages::fetch::FetchResponse::decode(&mut frame, 12).unwrap();
        assert_eq!(response.error_code, 0);
    }
}

#[tokio::test]
async fn above_the_limit_connections_wait_until_others_close() {
    let broker = TestBroker::start_with(&[("max.connections", "1")]).await;
    let mut first = broker.connect().await;
    let bytes = frame(ApiKey::ApiVersions, 0, 1, &ApiVersionsRequest::default());
    first.stream.write_all(&bytes).await.unwrap();
    assert!(first.receive_frame().await.is_some());
    let mut second = broker.connect().await;
    second.stream.write_all(&bytes).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), second.receive_frame()).await;
    assert!(early.is_err(), "it is neither served nor closed");
    drop(first);
    assert!(second.receive_frame().await.is_some());
}

#[tokio::test]
async fn connections_are_limited_per_address() {
    let broker = TestBroker::start_with(&[("max.connections.per.ip", "2")]).await;
    let mut first = broker.connect().await;
    let mut second = broker.connect().await;
    let bytes = frame(ApiKey::ApiVersions, 0, 1, &ApiVersionsRequest::default());
    for client in [&mut first, &mut second] {
        client.stream.write_all(&bytes).await.unwrap();
        assert!(client.receive_frame().await.is_some());
    }
    let mut third = broker.connect().await;
    assert!(third.is_closed().await);
    drop(first);
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let mut next = broker.connect().await;
        let _ = next.stream.write_all(&bytes).await;
        let mut byte = [0];
        if matches!(next.stream.read(&mut byte).await, Ok(1)) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "a closed connection is still counted"
        );
    }
}

#[tokio::test]
async fn idle_connections_are_closed_but_not_those_that_wait() {
    let broker = TestBroker::start_with(&[("connections.max.idle.ms", "100")]).await;
    broker.create("t", 1, &[]).await;
    let mut idle = broker.connect().await;
    let mut waiting = broker.connect().await;
    let mut long_poll = fetch_request(12, "t", 0, 0);
    long_poll.max_wait_ms = 2_600;
    waiting.send(12, &long_poll).await;
    assert!(idle.is_closed().await);
    let (_, response) = waiting.receive::<FetchRequest>(12).await;
    assert_eq!(response.error_code, 0);
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_closes() {
    let mut broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    let mut long_poll = fetch_request(12, "t", 0, 0);
    long_poll.max_wait_ms = 60_000;
    client.send(12, &long_poll).await;
    // The request has been taken once another client is answered.
    let mut other = broker.connect().await;
    assert_eq!(produce(&mut other, "t", -1, batch(&["a"])).await.error_code, 0);
    let (_, response) = client.receive::<FetchRequest>(12).await;
    assert_eq!(values(response.responses[0].partitions[0].records.as_ref()), ["a"]);
    client
        .send(
            12,
            &FetchRequest {
                topics: fetch_request(12, "t", 0, 1).topics,
                ..long_poll
            },
        )
        .await;
    // The poll has to be under way when the broker stops.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _dir = broker.stop().await;
    let (_, response) = client.receive::<FetchRequest>(12).await;
    assert_eq!(response.error_code, 0);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn frames_that_are_announced_and_not_sent_take_nothing_from_others() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[("max.message.bytes", "4000000")]).await;
    let mut hostile = Vec::new();
    for _ in 0..100 {
        let mut client = broker.connect().await;
        let mut bytes = (100_i32 << 20).to_be_bytes().to_vec();
        bytes.resize(80_000, 0);
        client.stream.write_all(&bytes).await.unwrap();
        hostile.push(client);
    }
    let mut client = broker.connect().await;
    let large = "x".repeat(1_000_000);
    for _ in 0..10 {
        assert_eq!(produce(&mut client, "t", -1, batch(&[&large])).await.error_code, 0);
    }
}
