//! Leaders heed the disks of their followers: producers are slowed down, then refused, as long as those are live.

use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, DiskPressure, NodeDisk, NodeState};
use highwater_proto::types::NodeId;
use tokio::time::Instant;

use crate::cluster::{Cluster, produce};
use crate::support::{Client, batch};

const FOLLOWER: NodeId = NodeId(2);

async fn report(cluster: &Cluster, pressure: DiskPressure, tenths: u8) {
    report_of(FOLLOWER, cluster, pressure, tenths).await;
}

async fn report_of(node: NodeId, cluster: &Cluster, pressure: DiskPressure, tenths: u8) {
    let disk = NodeDisk {
        pressure,
        tenths,
        stalled: false,
    };
    cluster.decide(vec![Change::PutNodeDisk(node, disk)]).await;
}

/// What a request is answered with, and how long that takes.
async fn timed(client: &mut Client) -> (i16, Duration) {
    let start = Instant::now();
    let answer = produce(client, "t", 0, -1, batch(&["a"])).await;
    (answer.error_code, start.elapsed())
}

#[tokio::test]
async fn the_disk_of_a_live_follower_slows_producers_down_and_then_stops_them() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "2")]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(timed(&mut client).await.0, 0);

    report(&cluster, DiskPressure::Low, 8).await;
    let (code, took) = timed(&mut client).await;
    assert_eq!(code, 0);
    assert!(took >= Duration::from_millis(800), "{took:?}");
    report(&cluster, DiskPressure::Low, 3).await;
    let (code, took) = timed(&mut client).await;
    assert_eq!(code, 0);
    assert!(took >= Duration::from_millis(300), "{took:?}");

    report(&cluster, DiskPressure::Full, 10).await;
    assert_eq!(timed(&mut client).await.0, ErrorCode::KafkaStorageError.code());
    report(&cluster, DiskPressure::None, 0).await;
    assert_eq!(timed(&mut client).await.0, 0);
}

#[tokio::test]
async fn what_a_dead_follower_said_of_its_disk_holds_nobody_up() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "2")]).await;
    let mut client = cluster.client(0).await;
    report(&cluster, DiskPressure::Full, 10).await;
    assert_eq!(timed(&mut client).await.0, ErrorCode::KafkaStorageError.code());

    let _dir = cluster.stop(2).await;
    cluster.set_state(FOLLOWER, NodeState::Fenced).await;
    cluster.elect("t", 0, &[0, 1]).await;
    assert_eq!(timed(&mut client).await.0, 0);
    // Also while somebody else has a word to say.
    report_of(NodeId(1), &cluster, DiskPressure::Low, 0).await;
    assert_eq!(timed(&mut client).await.0, 0);
    // It comes back, and has said nothing else yet.
    cluster.set_state(FOLLOWER, NodeState::Active).await;
    assert_eq!(timed(&mut client).await.0, ErrorCode::KafkaStorageError.code());
}

/// The reserve is kept from producers, not from followers: what a leader took before it heard of the disk is acknowledged
/// only once it is copied (`docs/decisions/0006-what-the-next-issue-adds.md`).
#[tokio::test]
async fn a_follower_copies_into_the_reserve_that_it_keeps_its_own_producers_out_of() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "3")]).await;
    cluster.create("u", 1, &[]).await;
    cluster.elect("u", 2, &[0, 1, 2]).await;
    // Its leaders have not heard of it.
    cluster.brokers[2].broker.disk().looked(0, 50 << 30);
    let mut to_leader = cluster.client(0).await;
    for _ in 0..3 {
        assert_eq!(timed(&mut to_leader).await.0, 0, "all three have it on disk");
    }
    assert_eq!(cluster.log_end(2, "t"), 3);
    let mut to_follower = cluster.client(2).await;
    let refused = produce(&mut to_follower, "u", 0, 1, batch(&["a"])).await;
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    assert_eq!(cluster.log_end(2, "u"), 0);
}
