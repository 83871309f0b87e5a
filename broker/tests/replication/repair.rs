//! Replicas that are damaged go offline alone, and are copied from their leaders.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::NodeId;

use crate::cluster::{Cluster, fetch, produce, records, until};
use crate::support::{Client, batch};

/// Makes nonsense of the header of the second batch: its length, so that nobody can read past it.
fn damage(dir: &Path, batch_bytes: u64) {
    let log = dir.join("t-0/00000000000000000000.log");
    let file = std::fs::File::options().write(true).open(log).unwrap();
    file.write_all_at(&[0xff; 4], batch_bytes + 8).unwrap();
}

fn strays(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap();
    let is_stray = |name: std::ffi::OsString| name.to_string_lossy().ends_with("-stray");
    names
        .filter(|entry| is_stray(entry.as_ref().unwrap().file_name()))
        .count()
}

/// Topic "other", and "t" with these configs and records, both led by broker 0; its client.
async fn with_records(configs: &[(&str, &str)], times: usize, records: &Bytes) -> (Cluster, Client) {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, configs).await;
    cluster.create("other", 1, &[]).await;
    let mut client = cluster.client(0).await;
    for _ in 0..times {
        assert_eq!(produce(&mut client, "t", 0, -1, records.clone()).await.error_code, 0);
    }
    (cluster, client)
}

#[tokio::test]
async fn a_replica_that_recovery_cannot_read_is_copied_from_its_leader() {
    let (mut cluster, _client) = with_records(&[("min.insync.replicas", "1")], 5, &batch(&["a", "b"])).await;
    let dir = cluster.stop(2).await;
    damage(dir.path(), batch(&["a", "b"]).len() as u64);
    std::fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
    let member = cluster.start_broker(NodeId(2), dir).await;
    cluster.brokers.push(member);
    until("it is copied and in the ISR", || {
        let partition = cluster.decided("t");
        partition.isr.len() == 3 && partition.offline_replicas.is_empty() && strays(cluster.brokers[2].dir.path()) == 1
    })
    .await;
    assert_eq!(cluster.log_end(2, "t"), 10);
    assert_eq!(
        cluster.replica(2, "other", 0).ends().map(|ends| ends.log_end.get()),
        Some(0)
    );
}

#[tokio::test]
async fn a_leader_that_finds_its_log_damaged_is_replaced_and_follows() {
    let (cluster, mut client) = with_records(&[("min.insync.replicas", "2")], 5, &batch(&["a", "b"])).await;
    damage(cluster.brokers[0].dir.path(), batch(&["a", "b"]).len() as u64);
    let answer = fetch(&mut client, "t", 6).await;
    assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code(), "and no records");
    assert_eq!(
        produce(&mut client, "other", 0, -1, batch(&["x"])).await.error_code,
        0,
        "only that replica"
    );

    until("another one leads", || cluster.replica(1, "t", 0).is_leader()).await;
    let mut client = cluster.client(1).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["c"])).await.error_code, 0);
    until("the damaged one is in the ISR again", || {
        cluster.decided("t").isr.len() == 3
    })
    .await;
    assert_eq!(cluster.log_end(0, "t"), 11);
    assert_eq!(records(&fetch(&mut client, "t", 0).await).len(), 11);
}

#[tokio::test]
async fn followers_find_out_that_a_leaders_records_are_damaged() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "1")]).await;
    let mut client = cluster.client(0).await;
    let dir = cluster.stop(2).await;
    cluster.elect("t", 0, &[0, 1]).await;
    for _ in 0..3 {
        assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a", "b"])).await.error_code, 0);
    }
    // A record of the first batch: the header is sound, so the leader sees nothing.
    let log = cluster.brokers[0].dir.path().join("t-0/00000000000000000000.log");
    let file = std::fs::File::options().write(true).open(log).unwrap();
    file.write_all_at(&[0xff], batch(&["a", "b"]).len() as u64 - 2).unwrap();
    let member = cluster.start_broker(NodeId(2), dir).await;
    cluster.brokers.push(member);
    until("broker 1 leads", || cluster.replica(1, "t", 0).is_leader()).await;
    until("all are in sync again", || cluster.decided("t").isr.len() == 3).await;
    assert_eq!((cluster.log_end(0, "t"), cluster.log_end(2, "t")), (6, 6));
    assert_eq!(strays(cluster.brokers[0].dir.path()), 1);
}

/// Directories in the places of all segments that may come next: the files of those cannot be created. The partition has
/// `end` records.
fn refuse_new_segments(dir: &Path, end: i64) {
    for base in end..end + 10 {
        std::fs::create_dir(dir.join(format!("t-0/{base:020}.log"))).unwrap();
    }
}

const SMALL_SEGMENTS: [(&str, &str); 2] = [("min.insync.replicas", "2"), ("segment.bytes", "1048576")];

/// Two of these do not fit into one segment.
fn large() -> Bytes {
    batch(&["x".repeat(700_000).as_str()])
}

#[tokio::test]
async fn an_io_error_of_one_file_of_a_follower_is_repaired() {
    let (cluster, mut client) = with_records(&SMALL_SEGMENTS, 1, &large()).await;
    until("all have it", || cluster.log_end(2, "t") == 1).await;
    refuse_new_segments(cluster.brokers[2].dir.path(), 1);
    for _ in 0..4 {
        assert_eq!(produce(&mut client, "t", 0, -1, large()).await.error_code, 0);
    }
    until("it is copied and in the ISR again", || {
        cluster.decided("t").isr.len() == 3 && strays(cluster.brokers[2].dir.path()) == 1
    })
    .await;
    assert_eq!(cluster.log_end(2, "t"), 5);
    assert_eq!(cluster.decided("other").isr.len(), 3, "only that replica");
}

#[tokio::test]
async fn an_io_error_of_one_file_of_a_leader_has_another_lead_and_is_repaired() {
    let (cluster, mut client) = with_records(&SMALL_SEGMENTS, 1, &large()).await;
    refuse_new_segments(cluster.brokers[0].dir.path(), 1);
    let refused = produce(&mut client, "t", 0, -1, large()).await;
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    let other = produce(&mut client, "other", 0, -1, batch(&["x"])).await;
    assert_eq!(other.error_code, 0, "only that replica");

    until("another one leads", || cluster.replica(1, "t", 0).is_leader()).await;
    let mut client = cluster.client(1).await;
    assert_eq!(produce(&mut client, "t", 0, -1, large()).await.error_code, 0);
    until("it is copied and in the ISR again", || {
        cluster.decided("t").isr.len() == 3 && strays(cluster.brokers[0].dir.path()) == 1
    })
    .await;
    assert_eq!(cluster.log_end(0, "t"), 2);
}
