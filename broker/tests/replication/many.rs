//! Many partitions through one fetcher.

use std::time::Duration;

use highwater_proto::types::NodeId;
use tokio::time::Instant;

use crate::cluster::{Cluster, produce, until};
use crate::support::batch;

const PARTITIONS: i32 = 500;

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
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(cluster.client(0).await);
    }
    let start = Instant::now();
    let producers = clients.into_iter().enumerate().map(|(first, mut client)| {
        tokio::spawn(async move {
            for index in (first as i32..PARTITIONS).step_by(20) {
                let answer = produce(&mut client, "t", index, -1, batch(&["a"])).await;
                assert_eq!(answer.error_code, 0, "partition {index}");
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
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
    // Many appends in one answer: fewer answers than appends.
    assert!(answers(&cluster) < 2 * PARTITIONS as u64, "{}", answers(&cluster));
    // Idle, the leader is asked about twice a second, whatever the number of partitions.
    let before = answers(&cluster);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(answers(&cluster) - before <= 2);
}
