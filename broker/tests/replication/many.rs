//! Many partitions through one fetcher.

use std::time::Duration;

use highwater_proto::types::NodeId;
use tokio::time::Instant;

use crate::cluster::{Cluster, produce_to_each, until};
use crate::support::batch;

const PARTITIONS: i32 = 500;
const WRITES: i32 = 4;

fn answers(cluster: &Cluster) -> u64 {
    let figures = cluster.brokers[1].broker.fetchers().figures();
    figures
        .iter()
        .filter(|it| it.leader == NodeId(0))
        .map(|it| it.answers)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_partitions_are_copied_on_one_connection() {
    let cluster = Cluster::start(&[]).await;
    cluster
        .create(
            "t",
            PARTITIONS,
            &[("min.insync.replicas", "3"), ("write.caching", "true")],
        )
        .await;
    let start = Instant::now();
    // To some of them: to create files for all takes its time, whatever the fetcher does.
    let mut client = cluster.client(0).await;
    for first in 0..WRITES {
        let indexes = (first..PARTITIONS).step_by(20);
        let codes = produce_to_each(&mut client, "t", indexes, batch(&["a"])).await;
        assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    for broker in 0..3 {
        assert_eq!(cluster.brokers[broker].broker.partitions().len(), PARTITIONS as usize);
    }
    let figures = cluster.brokers[1].broker.fetchers().figures();
    assert_eq!(figures.len(), 1, "one fetcher per leader");
    until("nobody rests", || {
        cluster.brokers[1]
            .broker
            .fetchers()
            .figures()
            .iter()
            .all(|it| it.resting == 0)
    })
    .await;
    // Many partitions in one answer: far fewer answers than appends.
    let appends = (WRITES * PARTITIONS / 20) as u64;
    assert!(answers(&cluster) < appends / 2, "{} of {appends}", answers(&cluster));
    // Idle, the leader is asked about twice a second, whatever the number of partitions.
    let before = answers(&cluster);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(answers(&cluster) - before <= 2);
}
