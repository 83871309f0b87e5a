//! Planned moves of leaderships.

use std::sync::Arc;
use std::time::Duration;

use highwater_controller::store::EmbeddedStore;
use highwater_proto::grpc;
use highwater_proto::grpc::alter_partitions_request::{IsrMember, Proposal};
use highwater_proto::grpc::session_request::{HandedOver, Leave, Request as Said};
use highwater_proto::grpc::session_response::{Keep, Response as Answer};
use highwater_proto::metadata::NodeState;
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::support::{Running, broker, config, create_on, leader};

#[tokio::test]
async fn who_leaves_hands_over_before_others_lead() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (mut first, _) = broker(&running, 1, 1).await;
    let (_second, _) = broker(&running, 2, 2).await;
    create_on(&running, "a", &[1, 2], &[]).await;
    let alone = create_on(&running, "alone", &[1], &[]).await;
    let (_, epoch) = leader(&running.controller.image(), "a");
    first.tell(Said::Leave(Leave::default())).await;
    let Answer::HandOver(asked) = first.question().await else {
        panic!("no hand-over")
    };
    let wanted = asked.moves.iter().map(|it| (it.leader_epoch, it.target));
    assert_eq!(
        wanted.collect::<Vec<_>>(),
        [(epoch, 2)],
        "there is nobody to hand the other one to"
    );
    assert!(asked.moves.iter().all(|it| it.replica.as_ref() != Some(&alone)));
    assert_eq!(
        leader(&running.controller.image(), "a").0,
        Some(NodeId(1)),
        "not before the answer"
    );
    let ready = asked.moves.iter().filter_map(|wanted| wanted.replica.clone()).collect();
    let answer = HandedOver {
        question: asked.question,
        ready,
    };
    first.tell(Said::HandedOver(answer)).await;
    assert!(matches!(first.question().await, Answer::MayLeave(_)));
    let image = running.controller.image();
    assert_eq!(leader(&image, "a"), (Some(NodeId(2)), epoch + 1));
    assert_eq!(image.node(NodeId(1)).unwrap().state, NodeState::Fenced);
    running.stop().await;
}

#[tokio::test]
async fn who_leaves_waits_for_others_for_as_long_as_it_says_and_not_when_all_leave() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(broker(&running, id, id as u128).await.0);
    }
    create_on(&running, "a", &[1, 2, 3], &[("min.insync.replicas", "2")]).await;
    drop(nodes.pop());
    running
        .image_where("broker 3 is gone", |image| image.live_broker(NodeId(3)).is_none())
        .await;
    let (mut second, mut first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    let leave = |wait_ms| Said::Leave(Leave { wait_ms });
    first.tell(leave(60_000)).await;
    first.hand_over().await;
    running
        .image_where("broker 2 leads", |image| leader(image, "a").0 == Some(NodeId(2)))
        .await;
    first.tell(leave(60_000)).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), first.question()).await;
    assert!(waits.is_err(), "broker 3 may come back: {waits:?}");
    assert!(running.controller.image().live_broker(NodeId(1)).is_some());
    // It asks again all the time. Its patience is over; broker 2 finds that nobody stays.
    first.tell(leave(1)).await;
    assert!(matches!(first.question().await, Answer::MayLeave(_)));
    second.tell(leave(60_000)).await;
    assert!(matches!(second.question().await, Answer::MayLeave(_)));
    running.stop().await;
}

#[tokio::test]
async fn a_leader_that_does_not_answer_is_not_waited_for_longer_than_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (mut first, _) = broker(&running, 1, 1).await;
    let (_second, _) = broker(&running, 2, 2).await;
    create_on(&running, "a", &[1, 2], &[]).await;
    let started = tokio::time::Instant::now();
    first.tell(Said::Leave(Leave::default())).await;
    assert!(matches!(first.question().await, Answer::HandOver(_)));
    assert!(matches!(first.question().await, Answer::MayLeave(_)));
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(500) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(leader(&running.controller.image(), "a").0, Some(NodeId(2)));
    running.stop().await;
}

#[tokio::test]
async fn preferred_leaders_are_restored_by_themselves_once_they_have_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.settings.leader_imbalance_check_interval = Duration::from_millis(200);
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let running = Running::start_with(Arc::new(store), config).await;
    let (first, _) = broker(&running, 1, 1).await;
    let (mut second, second_epoch) = broker(&running, 2, 2).await;
    let replica = create_on(&running, "a", &[1, 2], &[]).await;
    drop(first);
    running
        .image_where("broker 2 leads", |image| leader(image, "a").0 == Some(NodeId(2)))
        .await;
    let (_first, first_epoch) = broker(&running, 1, 11).await;
    let image = running.controller.image();
    let partition = image.topic("a").unwrap().partition(PartitionIndex(0)).unwrap();
    let member = |broker, broker_epoch| IsrMember { broker, broker_epoch };
    let request = grpc::AlterPartitionsRequest {
        broker_id: 2,
        broker_epoch: second_epoch,
        proposals: vec![Proposal {
            topic_id: replica.topic_id.clone(),
            partition: 0,
            leader_epoch: partition.leader_epoch.get(),
            partition_epoch: partition.epoch.get(),
            isr: vec![member(1, first_epoch), member(2, second_epoch)],
        }],
        ..Default::default()
    };
    running.client().alter_partitions(request).await.unwrap();
    // The first time its successor lacks records: nothing moves, and it is tried again.
    let Answer::HandOver(asked) = second.question().await else {
        panic!("no hand-over")
    };
    assert_eq!(asked.moves.iter().map(|it| it.target).collect::<Vec<_>>(), [1]);
    let answer = HandedOver {
        question: asked.question,
        ready: Vec::new(),
    };
    second.tell(Said::HandedOver(answer)).await;
    let kept = Keep {
        question: asked.question,
        replicas: vec![replica],
    };
    assert_eq!(second.question().await, Answer::Keep(kept), "it takes appends again");
    assert_eq!(second.hand_over().await, asked.moves);
    running
        .image_where("the preferred leader leads", |image| {
            leader(image, "a").0 == Some(NodeId(1))
        })
        .await;
    running.stop().await;
}
