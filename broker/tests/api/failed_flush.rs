//! A flush that fails: nothing on that disk can be trusted any more.

use std::os::unix::fs::symlink;

use highwater_node::clock::Clock;
use highwater_node::telemetry::Metrics;
use highwater_proto::kafka::ErrorCode;

use crate::fetch::{only as fetched, request as fetch_request};
use crate::produce::produce;
use crate::support::{LIMIT, TestBroker, batch, topic_id};

/// The first segment of a partition takes all that is written, and cannot be flushed: `fdatasync` knows no devices.
fn fail_flushes(broker: &TestBroker, partition: &str) {
    let dir = broker.data_dir().join(partition);
    std::fs::create_dir(&dir).unwrap();
    symlink("/dev/null", dir.join("00000000000000000000.log")).unwrap();
}

fn figure(broker: &TestBroker, name: &str) -> String {
    let registry = Metrics::new(&Clock::system());
    broker.broker.metrics().register(&registry, &broker.broker);
    let text = registry.encode().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a figure").to_owned()
}

#[tokio::test]
async fn a_failed_flush_takes_all_replicas_of_the_disk_offline() {
    let broker = TestBroker::start().await;
    broker.create("sound", 1, &[]).await;
    broker.create("bad", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "sound", -1, batch(&["a"])).await.error_code, 0);
    assert_eq!(
        figure(&broker, "kafka_server_replicamanager_offlinereplicacount"),
        "0.0"
    );

    fail_flushes(&broker, "bad-0");
    let storage = ErrorCode::KafkaStorageError.code();
    let refused = produce(&mut client, "bad", -1, batch(&["b"])).await;
    assert_eq!(refused.error_code, storage, "an acknowledgement would be a lie");

    // The other one is told in a moment.
    let sound = broker.broker.partitions().get(topic_id("sound"), 0.into()).unwrap();
    let offline = async {
        while sound.log_start().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, offline).await.expect("it is offline");
    for acks in [1, -1] {
        let refused = produce(&mut client, "sound", acks, batch(&["c"])).await;
        assert_eq!(refused.error_code, storage);
    }
    let answer = client.call(12, &fetch_request(12, "sound", 0, 0)).await;
    assert_eq!(fetched(&answer).error_code, storage);
    assert_eq!(
        figure(&broker, "kafka_server_replicamanager_offlinereplicacount"),
        "2.0"
    );
    assert_eq!(figure(&broker, "kafka_log_logmanager_offlinelogdirectorycount"), "1.0");
}
