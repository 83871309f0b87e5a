//! The shards' logs, as coordinators use them: the real service over gRPC, a real partition on disk.

use std::time::Duration;

use bytes::Bytes;
use highwater_node::transport::Channel;
use highwater_proto::grpc::broker_client::BrokerClient;
use highwater_proto::grpc::{
    AppendShardRequest, AppendShardResponse, AwaitHighWatermarkRequest, ConfirmShardRequest, OpenShardRequest,
    OpenShardResponse, PartitionEndsRequest, ReadShardRequest, ReadShardResponse, partition_ends_request,
};
use highwater_proto::metadata::{Change, Partition};
use highwater_proto::record::Batches;
use highwater_proto::types::{LeaderEpoch, NodeId, PartitionIndex};
use tonic::Code;

use crate::cluster::{BROKER, Cluster, OFFSETS, led_by, shard};
use crate::stall::{appended_by, stall};
use crate::support::batch;

const NOT_COORDINATOR: i32 = 16;
const LOADING: i32 = 14;
const NOT_LEADER: i32 = 6;
const FENCED_LEADER_EPOCH: i32 = 74;
const UNKNOWN_LEADER_EPOCH: i32 = 75;
const WRONG_END: i32 = 45;
const TIMED_OUT: i32 = 7;
const TOO_LARGE: i32 = 10;

/// An owner of shard 0, as it sees itself.
#[derive(Clone)]
struct Owner {
    broker: BrokerClient<Channel>,
    epoch: i32,
    leader_epoch: i32,
}

impl Owner {
    async fn open(cluster: &Cluster, epoch: i32, revision: i64) -> (Self, OpenShardResponse) {
        let mut broker = cluster.shards();
        let request = OpenShardRequest {
            shard: Some(shard(0).into()),
            coordinator_epoch: epoch,
            image_revision: revision,
        };
        let opened = broker.open_shard(request).await.unwrap().into_inner();
        (
            Self {
                broker,
                epoch,
                leader_epoch: opened.leader_epoch,
            },
            opened,
        )
    }

    async fn append(&mut self, expected_end: i64, batches: Bytes) -> AppendShardResponse {
        self.append_within(expected_end, batches, 5_000).await
    }

    async fn append_within(&mut self, expected_end: i64, batches: Bytes, timeout_ms: i32) -> AppendShardResponse {
        let request = AppendShardRequest {
            shard: Some(shard(0).into()),
            coordinator_epoch: self.epoch,
            leader_epoch: self.leader_epoch,
            expected_end,
            batches,
            timeout_ms,
        };
        self.broker.append_shard(request).await.unwrap().into_inner()
    }

    async fn confirm(&mut self) -> i32 {
        let request = ConfirmShardRequest {
            shard: Some(shard(0).into()),
            coordinator_epoch: self.epoch,
            leader_epoch: self.leader_epoch,
        };
        self.broker.confirm_shard(request).await.unwrap().into_inner().error
    }

    async fn read(&mut self, offset: i64, max_bytes: i32) -> ReadShardResponse {
        let request = ReadShardRequest {
            shard: Some(shard(0).into()),
            leader_epoch: self.leader_epoch,
            offset,
            max_bytes,
        };
        self.broker.read_shard(request).await.unwrap().into_inner()
    }

    async fn await_high_watermark(&mut self, offset: i64, timeout_ms: i32) -> (i32, i64) {
        let leader_epoch = self.leader_epoch;
        let request = AwaitHighWatermarkRequest {
            shard: Some(shard(0).into()),
            leader_epoch,
            offset,
            timeout_ms,
        };
        let answer = self.broker.await_high_watermark(request).await.unwrap().into_inner();
        (answer.error, answer.high_watermark)
    }
}

/// A cluster with shard 0 assigned at epoch 1 and opened.
async fn opened() -> (Cluster, Owner) {
    let cluster = Cluster::start().await;
    cluster.create_offsets(1).await;
    let revision = cluster.assign(0, 1).await;
    let (owner, opened) = Owner::open(&cluster, 1, revision.get()).await;
    assert_eq!(
        (opened.error, opened.log_start, opened.log_end, opened.high_watermark),
        (0, 0, 0, 0)
    );
    (cluster, owner)
}

#[tokio::test]
async fn a_new_owner_fences_the_old_one() {
    let (cluster, mut old) = opened().await;
    assert_eq!(old.append(0, batch(&["a"])).await.error, 0);
    assert_eq!(old.confirm().await, 0);

    let revision = cluster.assign(0, 2).await;
    // The image alone is enough to refuse, before anybody opens.
    assert_eq!(old.confirm().await, NOT_COORDINATOR);
    assert_eq!(old.append(1, batch(&["b"])).await.error, NOT_COORDINATOR);
    let (mut new, opened) = Owner::open(&cluster, 2, revision.get()).await;
    assert_eq!((opened.error, opened.log_end), (0, 1));
    assert_eq!(new.append(1, batch(&["c"])).await.error, 0);
    let (_, late) = Owner::open(&cluster, 1, revision.get()).await;
    assert_eq!(late.error, NOT_COORDINATOR);
}

#[tokio::test]
async fn only_an_owner_that_opened_appends_and_is_confirmed() {
    let (cluster, mut owner) = opened().await;
    let mut unopened = owner.clone();
    unopened.epoch = 2;
    cluster.assign(0, 2).await;
    assert_eq!(unopened.append(0, batch(&["a"])).await.error, NOT_COORDINATOR);
    assert_eq!(unopened.confirm().await, NOT_COORDINATOR);
    assert_eq!(owner.append(0, batch(&["a"])).await.error, NOT_COORDINATOR);
    assert_eq!(
        cluster
            .broker
            .partitions()
            .get(OFFSETS, PartitionIndex(0))
            .unwrap()
            .ends()
            .unwrap()
            .log_end
            .get(),
        0
    );
}

#[tokio::test]
async fn opening_waits_for_the_image_and_takes_no_epoch_that_was_not_given() {
    let (cluster, _) = opened().await;
    // The owner's image is ahead of the broker's: it arrives while the broker waits.
    let revision = cluster.controller.commit(vec![crate::cluster::assigned(0, 2)]);
    assert!(cluster.broker.image().revision.get() < revision);
    let (mut owner, opened) = Owner::open(&cluster, 2, revision).await;
    assert_eq!(opened.error, 0);
    let (_, invented) = Owner::open(&cluster, 9, revision).await;
    assert_eq!(invented.error, LOADING);
    assert_eq!(owner.confirm().await, 0, "an epoch that was not given fences nobody");
}

#[tokio::test]
async fn appends_name_the_end_and_the_leader_epoch() {
    let (cluster, mut owner) = opened().await;
    let first = owner.append(0, batch(&["a", "b"])).await;
    assert_eq!((first.error, first.base_offset, first.end_offset), (0, 0, 2));
    assert_eq!(first.high_watermark, 2, "answered when it is committed");
    for wrong in [0, 1, 3] {
        assert_eq!(
            owner.append(wrong, batch(&["x"])).await.error,
            WRONG_END,
            "expected end {wrong}"
        );
    }
    let mut other = Owner {
        leader_epoch: 1,
        ..owner.clone()
    };
    assert_eq!(other.append(2, batch(&["x"])).await.error, UNKNOWN_LEADER_EPOCH);
    assert_eq!(other.confirm().await, UNKNOWN_LEADER_EPOCH);

    cluster.change(vec![led_by(0, Some(BROKER), 5)]).await;
    assert_eq!(owner.append(2, batch(&["x"])).await.error, FENCED_LEADER_EPOCH);
    assert_eq!(owner.confirm().await, FENCED_LEADER_EPOCH);
    assert_eq!(owner.read(0, 1024).await.error, FENCED_LEADER_EPOCH);
    let revision = cluster.broker.image().revision.get();
    let (mut owner, reopened) = Owner::open(&cluster, 1, revision).await;
    assert_eq!(
        (reopened.error, reopened.leader_epoch, reopened.log_end),
        (0, 5, 2),
        "nothing of it was appended"
    );
    assert_eq!(owner.append(2, batch(&["c"])).await.error, 0);

    cluster.change(vec![led_by(0, None, 6)]).await;
    assert_eq!(owner.append(3, batch(&["x"])).await.error, NOT_LEADER);
    assert_eq!(Owner::open(&cluster, 1, revision).await.1.error, NOT_LEADER);
}

#[tokio::test]
async fn an_append_is_all_or_nothing_and_takes_whole_batches_only() {
    let (_cluster, mut owner) = opened().await;
    let both = Bytes::from([batch(&["a", "b"]), batch(&["c"])].concat());
    let appended = owner.append(0, both.clone()).await;
    assert_eq!((appended.error, appended.base_offset, appended.end_offset), (0, 0, 3));

    let mut damaged = both.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [Bytes::new(), both.slice(..both.len() - 1), Bytes::from(damaged)] {
        let request = AppendShardRequest {
            shard: Some(shard(0).into()),
            coordinator_epoch: 1,
            leader_epoch: 0,
            expected_end: 3,
            batches: bad,
            timeout_ms: 1_000,
        };
        let status = owner.broker.append_shard(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert_eq!(owner.read(3, 1024).await.log_end, 3, "nothing of them was appended");
}

#[tokio::test]
async fn an_append_is_answered_only_when_it_is_flushed() {
    let (cluster, mut owner) = opened().await;
    let partition = cluster.broker.partitions().get(OFFSETS, PartitionIndex(0)).unwrap();
    for number in 0..20 {
        assert_eq!(owner.append(number, batch(&["a"])).await.error, 0);
        let flushed = partition.inspect(|replica| replica.log().flushed);
        assert!(
            flushed.get() > number,
            "acknowledged up to {number}, flushed up to {flushed}"
        );
    }
}

/// As for producers: see `stalled_disk.rs` of the API's tests. The broker's workers are the thread of the test.
#[tokio::test]
async fn a_worker_never_appends_to_a_disk_whose_flush_is_older_than_100_ms() {
    let worker = std::thread::current().id();
    let (cluster, mut owner) = opened().await;
    assert_eq!(owner.append(0, batch(&["a"])).await.error, 0);
    let partition = cluster.broker.partitions().get(OFFSETS, PartitionIndex(0)).unwrap();
    let by = appended_by(&partition, async {
        assert_eq!(owner.append(1, batch(&["b"])).await.error, 0);
    });
    assert_eq!(by.await, worker);
    let _stalled = stall(cluster.broker.partitions().flusher()).await;
    let by = appended_by(&partition, async {
        assert_eq!(owner.append(2, batch(&["c"])).await.error, 0);
    });
    assert_ne!(by.await, worker);
}

#[tokio::test]
async fn what_is_not_committed_in_time_is_of_unknown_fate() {
    let cluster = Cluster::start().await;
    cluster.create_offsets(1).await;
    // A follower in sync that never fetches: nothing can be committed.
    let partition = Partition {
        replicas: vec![BROKER, NodeId(1)],
        isr: vec![BROKER, NodeId(1)],
        leader: Some(BROKER),
        leader_epoch: LeaderEpoch(1),
        ..Partition::default()
    };
    cluster
        .change(vec![Change::PutPartition(OFFSETS, PartitionIndex(0), partition)])
        .await;
    let revision = cluster.assign(0, 1).await;
    let (mut owner, _) = Owner::open(&cluster, 1, revision.get()).await;
    assert_eq!(owner.append_within(0, batch(&["a"]), 50).await.error, TIMED_OUT);
    assert_eq!(owner.await_high_watermark(1, 50).await.0, TIMED_OUT);

    // It is in the log all the same: the owner has to look again, and finds what may still commit.
    let (mut again, reopened) = Owner::open(&cluster, 1, revision.get()).await;
    assert_eq!((reopened.error, reopened.log_end, reopened.high_watermark), (0, 1, 0));
    assert_eq!(owner.append_within(0, batch(&["a"]), 50).await.error, WRONG_END);

    // A wait at the barrier ends when the leader epoch does, or with the commit.
    let mut waiting = again.clone();
    let waiting = tokio::spawn(async move { waiting.await_high_watermark(1, 30_000).await });
    // Time to answer too early.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    cluster.change(vec![led_by(0, Some(BROKER), 2)]).await;
    let outcome = tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("it ends")
        .unwrap();
    assert!(outcome == (0, 1) || outcome.0 == NOT_LEADER, "{outcome:?}");
    assert_eq!(again.await_high_watermark(1, 1_000).await.0, FENCED_LEADER_EPOCH);
}

#[tokio::test]
async fn appends_are_bounded() {
    let (_cluster, mut owner) = opened().await;
    let large = "x".repeat(1_048_588);
    assert_eq!(owner.append(0, batch(&[&large])).await.error, TOO_LARGE);
    let list = batch(&[&large[..1_000_000]]).repeat(17);
    assert_eq!(
        owner.append(0, list.into()).await.error,
        TOO_LARGE,
        "each is small enough"
    );
    assert_eq!(owner.append(0, batch(&[&large[..1_000_000]])).await.error, 0);
}

#[tokio::test]
async fn the_log_is_read_in_pages() {
    let (_cluster, mut owner) = opened().await;
    let value = "x".repeat(1_000);
    for number in 0..10 {
        assert_eq!(owner.append(number * 2, batch(&[&value, "y"])).await.error, 0);
    }
    let (mut offset, mut pages, mut records) = (0, 0, 0);
    while offset < 20 {
        let page = owner.read(offset, 2_500).await;
        assert_eq!((page.error, page.log_end, page.high_watermark), (0, 20, 20));
        let batches: Vec<_> = Batches::new(page.batches.clone()).map(Result::unwrap).collect();
        assert!(
            (1..=2).contains(&batches.len()),
            "{} batches in 2,500 bytes",
            batches.len()
        );
        assert_eq!(batches[0].header.base_offset.get(), offset);
        records += batches.iter().map(|batch| batch.header.record_count).sum::<i32>();
        assert!(page.next_offset > offset);
        (offset, pages) = (page.next_offset, pages + 1);
    }
    assert_eq!((offset, pages, records), (20, 5, 20));
    assert!(
        !owner.read(4, 0).await.batches.is_empty(),
        "a batch comes, however little is asked for"
    );
    let end = owner.read(20, 2_500).await;
    assert_eq!((end.error, end.next_offset, end.batches.len()), (0, 20, 0));
    assert_eq!(owner.read(21, 2_500).await.error, 1, "out of range");
}

#[tokio::test]
async fn the_ends_of_partitions_come_with_the_age_of_a_record() {
    let (cluster, mut owner) = opened().await;
    owner.append(0, batch(&["a", "b"])).await;
    let query = |partition, timestamp_at_offset| partition_ends_request::Query {
        topic_id: Bytes::copy_from_slice(OFFSETS.0.as_bytes()),
        partition,
        timestamp_at_offset,
    };
    let queries = vec![
        query(0, None),
        query(0, Some(0)),
        query(0, Some(-5)),
        query(0, Some(2)),
        query(9, None),
    ];
    let ends = cluster
        .shards()
        .partition_ends(PartitionEndsRequest { queries })
        .await
        .unwrap()
        .into_inner()
        .ends;
    let rows: Vec<_> = ends
        .iter()
        .map(|end| (end.error, end.log_start, end.high_watermark, end.timestamp_ms))
        .collect();
    let known = Some(1_000_000);
    assert_eq!(
        rows,
        [
            (0, 0, 2, None),
            (0, 0, 2, known),
            (0, 0, 2, known),
            (0, 0, 2, None),
            (NOT_LEADER, 0, 0, None)
        ]
    );
    let queries = vec![query(0, None); 10_001];
    let status = cluster
        .shards()
        .partition_ends(PartitionEndsRequest { queries })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
