//! InitProducerId.

use std::collections::BTreeSet;

use highwater_proto::kafka::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use crate::cluster::Cluster;
use crate::controller::BLOCK;

fn idempotent() -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..Default::default()
    }
}

fn answered(answer: &InitProducerIdResponse) -> (i16, i64, i16) {
    (answer.error_code, answer.producer_id, answer.producer_epoch)
}

#[tokio::test]
async fn rule_58_ids_are_unique_across_blocks_and_connections() {
    let cluster = Cluster::start().await;
    let producers = (0..4).map(|_| async {
        let mut client = cluster.connect().await;
        let mut ids = Vec::new();
        for _ in 0..2 * BLOCK {
            let (error, id, epoch) = answered(&client.call(4, &idempotent()).await);
            assert_eq!((error, epoch), (0, 0));
            ids.push(id);
        }
        ids
    });
    let ids: Vec<i64> = futures_util::future::join_all(producers).await.concat();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(
        ids.iter().max(),
        Some(&(1_000 + 8 * i64::from(BLOCK) - 1)),
        "no id is wasted"
    );
}

#[tokio::test]
async fn every_version_answers_and_transactions_are_refused_for_good() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    for version in 0..=5 {
        assert_eq!(
            client.call(version, &idempotent()).await.error_code,
            0,
            "version {version}"
        );
        let transactional = InitProducerIdRequest {
            transactional_id: Some("t".into()),
            ..idempotent()
        };
        assert_eq!(
            answered(&client.call(version, &transactional).await),
            (42, -1, -1),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn rule_58_without_a_block_producers_are_told_to_come_back() {
    let cluster = Cluster::start().await;
    *cluster.controller.away.lock() = true;
    let mut client = cluster.connect().await;
    assert_eq!(answered(&client.call(4, &idempotent()).await), (14, -1, -1));
    *cluster.controller.away.lock() = false;
    assert_eq!(client.call(4, &idempotent()).await.error_code, 0);
}
