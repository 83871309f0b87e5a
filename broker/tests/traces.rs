//! A request that is followed is followed no longer than its append can still come to something: its span ends when the
//! disk fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[allow(dead_code)]
#[path = "api/support.rs"]
mod support;

use std::os::unix::fs::symlink;
use std::sync::Arc;

use highwater_node::telemetry::trace::{finish_tracing, start_with};
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

use crate::support::{LIMIT, TestBroker, batch, topic_id};

/// Keeps the names of the spans that ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<String>>>);

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let names = batch.into_iter().map(|span| span.name.into_owned());
        self.0.lock().extend(names);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_ends_with_the_disk_that_its_append_is_on() {
    let ended = Ended::default();
    start_with(ended.clone(), 1.0, "test");
    let broker = TestBroker::start().await;
    broker.create("bad", 1, &[]).await;
    let mut client = broker.connect().await;
    // The first segment takes all that is written, and cannot be flushed: `fdatasync` knows no devices.
    let dir = broker.data_dir().join("bad-0");
    std::fs::create_dir(&dir).unwrap();
    symlink("/dev/null", dir.join("00000000000000000000.log")).unwrap();

    let data = PartitionProduceData {
        records: Some(batch(&["a"])),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: "bad".into(),
        partition_data: vec![data],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: 1,
        timeout_ms: 1_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let answer = client.call(9, &request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "appended");
    let partition = broker.broker.partitions().get(topic_id("bad"), 0.into()).unwrap();
    let offline = async {
        while partition.log_start().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, offline).await.expect("it is offline");
    // Blocks until all spans that ended are exported.
    tokio::task::spawn_blocking(finish_tracing).await.unwrap();
    let names = ended.0.lock().clone();
    assert!(names.iter().any(|name| name == "Produce"), "still open: {names:?}");
    assert!(!names.iter().any(|name| name == "high watermark"), "{names:?}");
}
