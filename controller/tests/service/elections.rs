//! Leaders that nobody planned: unclean elections, and disks that stall.

use std::time::Duration;

use highwater_node::clock::Clock;
use highwater_node::telemetry::Metrics;
use highwater_proto::grpc::session_request::{Heartbeat, LogEnd, LogEnds, Request as Said, Unfence};
use highwater_proto::grpc::session_response::Response as Answer;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::support::{Node, Running, broker, create_on, leader, register};

#[tokio::test]
async fn the_longest_log_of_those_that_answer_is_elected_uncleanly() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let unclean = [("unclean.leader.election.enable", "true")];
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(broker(&running, id, id as u128).await.0);
    }
    let replica = create_on(&running, "a", &[1, 2, 3], &unclean).await;
    drop(nodes);
    let headless = |image: &MetadataImage| image.topic("a").is_some() && leader(image, "a").0.is_none();
    running.image_where("nobody leads", headless).await;
    // All come back after an unclean stop: nobody is trusted any more.
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut node = Node::connect(
            running.client(),
            register(Some(id), 10 + id as u128, 1_000 + id as u128),
        )
        .await;
        node.registered().await;
        nodes.push(node);
    }
    let ends = [(3, 50), (4, 7), (4, 9)];
    let answering = nodes.into_iter().zip(ends).map(|(mut node, (last_epoch, end))| {
        let replica = replica.clone();
        tokio::spawn(async move {
            let unfence = Unfence {
                untrusted: vec![replica.clone()],
                ..Unfence::default()
            };
            node.tell(Said::Unfence(unfence)).await;
            loop {
                let Answer::AskLogEnds(asked) = node.question().await else {
                    continue;
                };
                assert_eq!(asked.replicas, std::slice::from_ref(&replica));
                let end = LogEnd {
                    replica: Some(replica.clone()),
                    last_epoch,
                    end,
                };
                // So late that all three are asked, if the controller waits for them.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let question = asked.question;
                node.tell(Said::LogEnds(LogEnds {
                    question,
                    ends: vec![end],
                }))
                .await;
            }
        })
    });
    let answering: Vec<_> = answering.collect();
    let image = running
        .image_where("somebody leads", |image| leader(image, "a").0.is_some())
        .await;
    let elected = leader(&image, "a").0.unwrap();
    let live = |id: i32| image.live_broker(NodeId(id)).is_some();
    assert!(
        elected == NodeId(3) || !live(3),
        "broker {elected} leads although broker 3 is live and has the longest log"
    );
    let metrics = Metrics::new(&Clock::system());
    running.controller.register_metrics(&metrics);
    let text = metrics.encode().unwrap();
    assert!(
        text.contains("\nkafka_controller_controllerstats_uncleanleaderelections_total 1\n"),
        "{text}"
    );
    answering.iter().for_each(tokio::task::JoinHandle::abort);
    running.stop().await;
}

#[tokio::test]
async fn a_broker_whose_disk_stalls_leads_nothing_and_is_waited_for_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (mut first, _) = broker(&running, 1, 1).await;
    let (_second, _) = broker(&running, 2, 2).await;
    create_on(&running, "led", &[1, 2], &[]).await;
    create_on(&running, "followed", &[2, 1], &[]).await;
    create_on(&running, "needed", &[2, 1], &[("min.insync.replicas", "2")]).await;
    create_on(&running, "alone", &[1], &[]).await;
    let beat = |flush: i64| {
        Said::Heartbeat(Heartbeat {
            oldest_unfinished_flush_ms: flush,
            ..Heartbeat::default()
        })
    };
    first.tell(beat(1_999)).await;
    first.tell(beat(2_000)).await;
    assert_eq!(first.hand_over().await.len(), 1);
    let isr = |image: &MetadataImage, name: &str| -> Vec<i32> {
        let partition = image.topic(name).unwrap().partition(PartitionIndex(0)).unwrap();
        partition.isr.iter().map(|node| node.get()).collect()
    };
    let image = running
        .image_where("it is relieved", |image| {
            isr(image, "followed") == [2] && isr(image, "led") == [2]
        })
        .await;
    assert_eq!(leader(&image, "led").0, Some(NodeId(2)));
    assert_eq!(
        leader(&image, "alone").0,
        Some(NodeId(1)),
        "better a slow leader than none"
    );
    assert_eq!(isr(&image, "needed"), [2, 1], "min ISR would not remain");
    assert!(image.node(NodeId(1)).unwrap().disk.stalled);
    running.stop().await;
}
