//! That the parts of the one process ask each other through their gRPC interfaces, and in no other way: what a client asks
//! for shows as calls of those interfaces.

use highwater_proto::kafka::messages::init_producer_id::InitProducerIdRequest;

use crate::highwater::Highwater;

/// How often a method was called.
fn calls(highwater: &Highwater, method: &str) -> u64 {
    let (service, method) = method.split_once('/').unwrap();
    let series = format!("highwater_grpc_requests_total{{service=\"highwater.v1.{service}\",method=\"{method}\"}} ");
    let metrics = highwater.http("/metrics");
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&series))
        .map_or(0, |count| count.parse().unwrap())
}

#[test]
fn every_request_of_a_client_passes_the_interfaces_of_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let mut client = highwater.connect();
    assert_eq!(
        calls(&highwater, "Controller/Session"),
        2,
        "the broker's and the coordinator's"
    );
    assert_eq!(calls(&highwater, "Controller/WatchMetadata"), 2);

    assert_eq!(calls(&highwater, "Controller/CreateTopics"), 0);
    client.create("t");
    assert_eq!(calls(&highwater, "Controller/CreateTopics"), 1);
    let idempotent = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    assert_eq!(client.call(4, &idempotent).error_code, 0);
    assert_eq!(calls(&highwater, "Controller/AllocateProducerIds"), 1);

    assert_eq!(calls(&highwater, "Broker/OpenShard"), 0);
    client.find_coordinator("g");
    assert_eq!(calls(&highwater, "Controller/CreateTopics"), 2, "the internal topic");
    assert_eq!(calls(&highwater, "Coordinator/Forward"), 0);
    let joined = client.join("g");
    assert_eq!(joined.error_code, 0);
    assert_eq!(
        calls(&highwater, "Coordinator/Forward"),
        1,
        "one stream for all requests"
    );
    // 50 shards are opened, one by one; the one of this group is.
    assert!(calls(&highwater, "Broker/OpenShard") >= 1);

    assert_eq!(client.committed("g2", "t"), -1);
    let before = calls(&highwater, "Broker/AppendShard");
    assert_eq!(client.commit("g2", -1, "", "t", 5), 0);
    let after = calls(&highwater, "Broker/AppendShard");
    assert!(
        after > before,
        "the commit is in the log of its shard: {before}, {after}"
    );
    assert_eq!(client.committed("g2", "t"), 5);
    highwater.stop();
}

#[test]
fn when_the_coordinator_restarts_with_its_process_it_reads_the_shards_through_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let highwater = Highwater::start(dir.path(), &[]);
    let mut client = highwater.connect();
    client.create("t");
    client.find_coordinator("g");
    assert_eq!(client.committed("g", "t"), -1);
    assert_eq!(client.commit("g", -1, "", "t", 42), 0);
    highwater.stop();

    let highwater = Highwater::start(dir.path(), &[]);
    assert_eq!(highwater.connect().committed("g", "t"), 42);
    for method in [
        "Broker/OpenShard",
        "Broker/AwaitHighWatermark",
        "Broker/ReadShard",
        "Coordinator/Forward",
    ] {
        assert!(calls(&highwater, method) >= 1, "{method}");
    }
    highwater.stop();
}
