//! FindCoordinator (rules 87, 172).

use highwater_proto::kafka::messages::find_coordinator::FindCoordinatorRequest;
use highwater_proto::types::CONSUMER_OFFSETS_TOPIC;

use crate::cluster::{BROKER, Cluster, led_by};

fn one(key: &str, key_type: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest {
        key: key.into(),
        key_type,
        ..Default::default()
    }
}

fn many(keys: &[&str], key_type: i8) -> FindCoordinatorRequest {
    let coordinator_keys = keys.iter().map(|key| (*key).into()).collect();
    FindCoordinatorRequest {
        coordinator_keys,
        key_type,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_missing_topic_is_created_once_and_answered_15_until_it_is_there() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    for version in 0..4 {
        let answer = client.call(version, &one("g", 0)).await;
        assert_eq!(
            (answer.error_code, answer.node_id, answer.port, &*answer.host),
            (15, -1, -1, ""),
            "v{version}"
        );
        assert!(version == 0 || !answer.error_message.unwrap_or_default().is_empty());
    }
    let mut asked = 0;
    let found = loop {
        let answer = client.call(4, &many(&["g", "orders"], 0)).await;
        match answer.coordinators.iter().map(|it| it.error_code).collect::<Vec<_>>()[..] {
            [0, 0] => break answer.coordinators,
            [15, 15] => asked += 1,
            ref other => panic!("{other:?}"),
        }
        assert!(asked < 10_000, "the topic never shows");
        tokio::task::yield_now().await;
    };
    for (found, key) in found.iter().zip(["g", "orders"]) {
        assert_eq!(
            (&*found.key, found.node_id, &*found.host, found.port),
            (key, 0, "test.host", 9092)
        );
    }
    assert!(asked > 0, "the image is on its way for a while");

    let created = cluster.controller.created.lock().clone();
    assert_eq!(created.len(), 1, "asked once, however often clients ask");
    let topic = &created[0].topics[0];
    assert_eq!(
        (&*topic.name, topic.partitions, topic.replication_factor),
        (CONSUMER_OFFSETS_TOPIC, 4, 1)
    );
    let config = |name: &str| {
        topic
            .configs
            .iter()
            .find(|it| it.name == name)
            .and_then(|it| it.value.as_deref())
    };
    assert_eq!(config("cleanup.policy"), Some("compact"));
    let old = client.call(1, &one("g", 0)).await;
    assert_eq!((old.error_code, old.node_id, old.port), (0, 0, 9092));
}

#[tokio::test]
async fn what_is_no_group_is_refused_for_good_and_creates_nothing() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    for key_type in [1, 2, 3] {
        for version in 1..4 {
            let answer = client.call(version, &one("t", key_type)).await;
            assert_eq!(
                (answer.error_code, answer.node_id),
                (42, -1),
                "type {key_type} v{version}"
            );
            assert!(answer.error_message.unwrap_or_default().contains("not supported"));
        }
        for version in 4..=6 {
            let answer = client.call(version, &many(&["t", "u"], key_type)).await;
            for (answer, key) in answer.coordinators.iter().zip(["t", "u"]) {
                assert_eq!(
                    (&*answer.key, answer.error_code),
                    (key, 42),
                    "type {key_type} v{version}"
                );
                assert!(
                    answer
                        .error_message
                        .as_deref()
                        .unwrap_or_default()
                        .contains("not supported")
                );
            }
        }
    }
    assert!(cluster.controller.created.lock().is_empty());
}

#[tokio::test]
async fn each_key_has_its_own_answer() {
    let cluster = Cluster::start().await;
    cluster.create_offsets(50).await;
    // "test" is partition 48 of 50, "orders" 31.
    cluster.change(vec![led_by(48, None, 1)]).await;
    let answer = cluster.connect().await.call(6, &many(&["orders", "test"], 0)).await;
    let rows: Vec<_> = answer
        .coordinators
        .iter()
        .map(|it| (&*it.key, it.error_code, it.node_id))
        .collect();
    assert_eq!(rows, [("orders", 0, BROKER.get()), ("test", 15, -1)]);
}

#[tokio::test]
async fn short_keys_do_not_make_a_reply_without_bound() {
    const LIMIT_BYTES: usize = 20_000;
    let cluster = Cluster::start_with(&[("socket.request.max.bytes", "20000")]).await;
    cluster.create_offsets(4).await;
    let mut client = cluster.connect().await;
    let answer = client.call(6, &many(&["g"; 300], 0)).await;
    assert!(answer.coordinators.iter().all(|it| it.error_code == 0), "as Kafka does");
    let keys = vec!["g"; 9_000];
    let answer = client.call(6, &many(&keys, 0)).await;
    let (found, refused) = answer
        .coordinators
        .split_at(answer.coordinators.partition_point(|it| it.error_code == 0));
    assert_eq!(found.len() + refused.len(), keys.len());
    assert!((300..LIMIT_BYTES / 20).contains(&found.len()), "{}", found.len());
    assert!(
        refused
            .iter()
            .all(|it| it.error_code == 42 && it.host.is_empty() && it.error_message.is_none())
    );
}
