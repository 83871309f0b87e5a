//! Leaders change all the time while producers write: nothing acknowledged is lost, and all replicas end up the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, Partition};
use highwater_proto::types::{LeaderEpoch, NodeId, PartitionIndex};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use crate::cluster::{Cluster, produce, records_of, until};
use crate::support::{batch, topic_id};

const PARTITIONS: i32 = 4;
const ROUNDS: usize = 40;

/// A record that was acknowledged: where, and what.
type Acknowledged = Vec<(i64, String)>;

async fn write(cluster: Arc<Cluster>, index: i32, done: Arc<AtomicBool>, number: Arc<AtomicU64>) -> Acknowledged {
    let mut acknowledged = Vec::new();
    let mut clients = Vec::new();
    for broker in 0..3 {
        clients.push(cluster.client(broker).await);
    }
    while !done.load(Ordering::Relaxed) {
        let image = cluster.controller.image();
        let leader = image
            .partition(topic_id("t"), PartitionIndex(index))
            .and_then(|it| it.leader);
        let Some(leader) = leader else { continue };
        let value = format!("{index}-{}", number.fetch_add(1, Ordering::Relaxed));
        let records: Bytes = batch(&[&value, "filler"]);
        let answer = produce(&mut clients[leader.get() as usize], "t", index, -1, records).await;
        if answer.error_code == 0 {
            acknowledged.push((answer.base_offset, value));
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    acknowledged
}

/// Another leader, of the ISR; the one that led stays a member, or not.
fn elect(cluster: &Cluster, random: &mut StdRng) -> Option<Change> {
    let index = PartitionIndex(random.random_range(0..PARTITIONS));
    let image = cluster.controller.image();
    let before = image.partition(topic_id("t"), index)?;
    let leader = before.isr[random.random_range(0..before.isr.len())];
    let mut isr = before.isr.clone();
    if random.random_bool(0.5) && isr.len() > 2 {
        isr.retain(|node| Some(*node) != before.leader || *node == leader);
    }
    let changed = Partition {
        leader: Some(leader),
        leader_epoch: LeaderEpoch(before.leader_epoch.get() + 1),
        isr,
        ..Partition::clone(before)
    };
    Some(Change::PutPartition(topic_id("t"), index, changed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_any_number_of_elections() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Arc::new(Cluster::start(&[("replica.fetch.wait.max.ms", "50")]).await);
    cluster.create("t", PARTITIONS, &[("min.insync.replicas", "2")]).await;
    let (done, number) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let writers: Vec<_> = (0..PARTITIONS)
        .map(|index| {
            tokio::spawn(write(
                Arc::clone(&cluster),
                index,
                Arc::clone(&done),
                Arc::clone(&number),
            ))
        })
        .collect();
    for _ in 0..ROUNDS {
        if let Some(change) = elect(&cluster, &mut random) {
            // Without waiting until the brokers have heard of it: they hear of it at different times anyway.
            cluster.controller.commit(vec![change]);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..40))).await;
    }
    done.store(true, Ordering::Relaxed);
    let start = Instant::now();
    for (index, writer) in (0..PARTITIONS).zip(writers) {
        let acknowledged = writer.await.unwrap();
        assert!(acknowledged.len() > 10, "only {} writes of {index}", acknowledged.len());
        let ends = |broker: usize| cluster.replica(broker, "t", index).ends().unwrap();
        until("all replicas have the same, and know it", || {
            let end = ends(0).log_end;
            (0..3).all(|broker| ends(broker).log_end == end)
                && cluster
                    .controller
                    .image()
                    .partition(topic_id("t"), PartitionIndex(index))
                    .unwrap()
                    .isr
                    .len()
                    == 3
        })
        .await;
        // One more, so that followers hear of the high watermark.
        let leader = cluster
            .controller
            .image()
            .partition(topic_id("t"), PartitionIndex(index))
            .unwrap()
            .leader;
        let leader = leader.unwrap_or(NodeId(0)).get() as usize;
        let mut client = cluster.client(leader).await;
        let mut last = produce(&mut client, "t", index, -1, batch(&["last"])).await;
        while last.error_code == ErrorCode::NotLeaderOrFollower.code() {
            // The controller has decided, but the broker has not heard of it yet.
            tokio::time::sleep(Duration::from_millis(5)).await;
            last = produce(&mut client, "t", index, -1, batch(&["last"])).await;
        }
        assert_eq!(last.error_code, 0);
        until("followers know the high watermark", || {
            (0..3).all(|broker| ends(broker).high_watermark.get() == last.base_offset + 1)
        })
        .await;
        let expected = records_of(&mut client, "t", index).await;
        for (offset, value) in &acknowledged {
            assert_eq!(
                expected.get(*offset as usize).map(|it| &it.0),
                Some(value),
                "offset {offset} of {index}"
            );
        }
        for broker in 0..3 {
            let mut client = cluster.client(broker).await;
            assert_eq!(records_of(&mut client, "t", index).await, expected, "broker {broker}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
