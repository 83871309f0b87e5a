//! A leader confirms a shard's owner only when no follower knows a later leader.

use std::time::Duration;

use highwater_proto::grpc::{AwaitHighWatermarkRequest, ConfirmShardRequest, OpenShardRequest};

use crate::brokers::{Brokers, led, registration};
use crate::cluster::{assigned, shard};

const TIMED_OUT: i32 = 7;
const NOT_ENOUGH_REPLICAS: i32 = 19;
const FENCED_LEADER_EPOCH: i32 = 74;

/// Shard 0, whose owner has opened it at broker 0.
async fn opened() -> Brokers {
    let mut brokers = Brokers::start().await;
    brokers.create_offsets(&[0]).await;
    let image_revision = brokers.change(vec![assigned(0, 1)]).await;
    let request = OpenShardRequest {
        shard: Some(shard(0).into()),
        coordinator_epoch: 1,
        image_revision,
    };
    let opened = brokers.service(0).open_shard(request).await.unwrap().into_inner();
    assert_eq!((opened.error, opened.leader_epoch), (0, 0));
    brokers
}

async fn confirm(brokers: &Brokers) -> i32 {
    let request = ConfirmShardRequest {
        shard: Some(shard(0).into()),
        coordinator_epoch: 1,
        leader_epoch: 0,
    };
    let mut leader = brokers.service(0);
    let confirmed = leader.confirm_shard(request);
    let confirmed = tokio::time::timeout(Duration::from_secs(10), confirmed).await;
    confirmed.expect("an answer").unwrap().into_inner().error
}

async fn barrier(brokers: &Brokers, timeout_ms: i32) -> i32 {
    let request = AwaitHighWatermarkRequest {
        shard: Some(shard(0).into()),
        leader_epoch: 0,
        offset: 0,
        timeout_ms,
    };
    let reached = brokers.service(0).await_high_watermark(request).await;
    reached.unwrap().into_inner().error
}

#[tokio::test]
async fn a_leader_that_was_replaced_and_does_not_know_it_confirms_nobody() {
    for also_cut_off in [None, Some(1), Some(2)] {
        let mut brokers = opened().await;
        assert_eq!(confirm(&brokers).await, 0);
        brokers.cut_off(0, true);
        if let Some(broker) = also_cut_off {
            brokers.cut_off(broker, true);
        }
        brokers.change(vec![led(0, 1, 1, &[1, 2])]).await;
        assert_eq!(
            confirm(&brokers).await,
            FENCED_LEADER_EPOCH,
            "{also_cut_off:?} knows nothing"
        );
        assert_eq!(barrier(&brokers, 5_000).await, FENCED_LEADER_EPOCH);
    }
    // Nobody knows of the election: so nobody serves after it either.
    let mut brokers = opened().await;
    (0..3).for_each(|broker| brokers.cut_off(broker, true));
    brokers.change(vec![led(0, 1, 1, &[1, 2])]).await;
    assert_eq!(confirm(&brokers).await, 0);
}

#[tokio::test]
async fn a_follower_that_does_not_answer_is_waited_for_until_it_leaves_the_isr() {
    let mut brokers = opened().await;
    brokers.silence(2);
    assert_eq!(confirm(&brokers).await, TIMED_OUT);
    assert_eq!(barrier(&brokers, 50).await, TIMED_OUT);
    brokers.change(vec![led(0, 0, 0, &[0, 1])]).await;
    assert_eq!(confirm(&brokers).await, 0);
    assert_eq!(barrier(&brokers, 5_000).await, 0);
}

#[tokio::test]
async fn below_min_isr_a_later_leader_may_be_one_that_left() {
    let mut brokers = opened().await;
    brokers.change(vec![led(0, 0, 0, &[0])]).await;
    assert_eq!(confirm(&brokers).await, NOT_ENOUGH_REPLICAS);
    assert_eq!(barrier(&brokers, 50).await, TIMED_OUT);
}

#[tokio::test]
async fn a_broker_that_got_the_address_of_another_does_not_answer_for_it() {
    let mut brokers = opened().await;
    brokers.change(registration(2, "broker-1").into()).await;
    assert_eq!(confirm(&brokers).await, TIMED_OUT);
    brokers.change(registration(2, "broker-2").into()).await;
    assert_eq!(confirm(&brokers).await, 0);
}

#[tokio::test]
async fn many_owners_are_confirmed_at_once() {
    let brokers = opened().await;
    let confirmed = futures_util::future::join_all((0..500).map(|_| confirm(&brokers))).await;
    assert!(confirmed.iter().all(|error| *error == 0));
}
