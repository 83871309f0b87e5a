//! Planned moves: the leader stops taking appends until its successor has everything.

use std::time::Duration;

use highwater_broker::partition::HandOver;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, NodeId};

use crate::cluster::{Cluster, produce, until};
use crate::support::{LIMIT, batch};

const FIRST: LeaderEpoch = LeaderEpoch(0);
const SECOND: LeaderEpoch = LeaderEpoch(1);
const QUESTION: i64 = 5;

#[tokio::test]
async fn the_successor_has_everything_when_the_leader_says_so() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[]).await;
    let mut client = cluster.client(0).await;
    for _ in 0..50 {
        // Nobody waits for the followers.
        assert_eq!(produce(&mut client, "t", 0, 1, batch(&["a"])).await.error_code, 0);
    }
    let leader = cluster.replica(0, "t", 0);
    assert!(leader.begin_hand_over(QUESTION, FIRST, NodeId(1), LIMIT));
    for acks in [1, -1] {
        let refused = produce(&mut client, "t", 0, acks, batch(&["b"])).await;
        assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower.code(), "retriable");
    }
    until("the successor has everything", || {
        leader.hand_over(FIRST, NodeId(1)) == HandOver::Ready
    })
    .await;
    assert_eq!((cluster.log_end(0, "t"), cluster.log_end(1, "t")), (50, 50));
    cluster.elect("t", 1, &[0, 1, 2]).await;
    assert_eq!(leader.hand_over(FIRST, NodeId(1)), HandOver::Void);
    let mut client = cluster.client(1).await;
    let answer = produce(&mut client, "t", 0, -1, batch(&["b"])).await;
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (0, 50),
        "nothing was lost, also of acks=1"
    );
    // Back again: the earlier hand-over is of another epoch.
    cluster.elect("t", 0, &[0, 1, 2]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["c"])).await.error_code, 0);
}

#[tokio::test]
async fn a_leader_that_is_not_replaced_goes_on() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "1")]).await;
    let leader = cluster.replica(0, "t", 0);
    assert!(
        !leader.begin_hand_over(QUESTION, SECOND, NodeId(1), LIMIT),
        "not this epoch"
    );
    assert!(!leader.begin_hand_over(QUESTION, FIRST, NodeId(7), LIMIT), "no replica");
    cluster.stop(2).await;
    cluster.elect("t", 0, &[0, 1]).await;
    assert!(
        !leader.begin_hand_over(QUESTION, SECOND, NodeId(2), LIMIT),
        "not in sync"
    );
    assert_eq!(leader.hand_over(SECOND, NodeId(2)), HandOver::Void);
    assert!(
        !cluster
            .replica(1, "t", 0)
            .begin_hand_over(QUESTION, SECOND, NodeId(0), LIMIT),
        "no leader"
    );
    cluster.stop(1).await;

    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, 1, batch(&["a"])).await.error_code, 0);
    assert!(leader.begin_hand_over(QUESTION, SECOND, NodeId(1), Duration::from_millis(60)));
    assert_eq!(leader.hand_over(SECOND, NodeId(1)), HandOver::Behind);
    assert_ne!(produce(&mut client, "t", 0, 1, batch(&["b"])).await.error_code, 0);
    tokio::time::sleep(Duration::from_millis(70)).await;
    assert_eq!(produce(&mut client, "t", 0, 1, batch(&["b"])).await.error_code, 0);
}

#[tokio::test]
async fn a_leader_that_is_kept_takes_appends_again_at_once() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[]).await;
    let mut client = cluster.client(0).await;
    let leader = cluster.replica(0, "t", 0);
    let mut code = async || produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code;
    assert!(leader.begin_hand_over(QUESTION, FIRST, NodeId(1), LIMIT));
    assert_ne!(code().await, 0);
    leader.end_hand_over(QUESTION - 1);
    assert_ne!(code().await, 0, "that was an earlier one");
    leader.end_hand_over(QUESTION);
    assert_eq!(code().await, 0);
}
