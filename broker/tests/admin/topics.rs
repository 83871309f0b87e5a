//! CreateTopics, DeleteTopics, CreatePartitions.

use highwater_proto::kafka::messages::create_partitions::CreatePartitionsRequest;
use highwater_proto::kafka::messages::create_partitions::request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use highwater_proto::kafka::messages::create_topics::CreateTopicsRequest;
use highwater_proto::kafka::messages::delete_topics::DeleteTopicsRequest;
use highwater_proto::kafka::messages::delete_topics::request::DeleteTopicState;
use highwater_proto::kafka::messages::metadata::MetadataRequest;
use uuid::Uuid;

use crate::cluster::{Cluster, topic};
use crate::support::Client;

async fn names(client: &mut Client) -> Vec<(String, usize)> {
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let answer = client.call(12, &request).await;
    let row = |t: &highwater_proto::kafka::messages::metadata::response::MetadataResponseTopic| {
        (t.name.as_deref().unwrap_or_default().to_owned(), t.partitions.len())
    };
    answer.topics.iter().map(row).collect()
}

#[tokio::test]
async fn a_created_topic_is_there_when_the_answer_is() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    let request = CreateTopicsRequest {
        topics: vec![topic("a", 3, &[("retention.ms", "1234")]), topic("b", -1, &[])],
        ..Default::default()
    };
    let answer = client.call(7, &request).await;
    assert_eq!(names(&mut client).await, [("a".to_owned(), 3), ("b".to_owned(), 1)]);

    let rows: Vec<_> = answer
        .topics
        .iter()
        .map(|t| (t.error_code, t.num_partitions, t.replication_factor))
        .collect();
    assert_eq!(rows, [(0, 3, 1), (0, 1, 1)]);
    let image = cluster.controller.image();
    assert_eq!(answer.topics[0].topic_id, image.topic("a").expect("created").id.0);
    assert_ne!(answer.topics[0].topic_id, answer.topics[1].topic_id);

    let configs = answer.topics[0].configs.as_deref().expect("configs");
    assert!(configs.is_sorted_by_key(|config| config.name.clone()) && configs.len() > 30);
    let of = |name: &str| {
        configs
            .iter()
            .find(|c| c.name == *name)
            .map(|c| (c.value.as_deref(), c.config_source))
    };
    assert_eq!(of("retention.ms"), Some((Some("1234"), 1)));
    assert_eq!(of("max.message.bytes"), Some((Some("1048588"), 5)));
}

#[tokio::test]
async fn refused_topics_name_the_reason() {
    let cluster = Cluster::start().await;
    cluster.create("a", 1, &[]).await;
    let refused = cluster.create("a", 1, &[]).await.topics.remove(0);
    assert_eq!(
        (refused.error_code, refused.error_message.as_deref()),
        (36, Some("because of 36"))
    );
    assert_eq!((refused.num_partitions, refused.replication_factor), (-1, -1));
    assert_eq!(
        (refused.configs.map(|c| c.len()), refused.topic_id),
        (Some(0), Uuid::nil())
    );
}

#[tokio::test]
async fn every_version_answers() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    for version in 2..=7 {
        let topics = vec![topic(&format!("t{version}"), 1, &[])];
        let answer = client
            .call(
                version,
                &CreateTopicsRequest {
                    topics,
                    ..Default::default()
                },
            )
            .await;
        assert_eq!(answer.topics[0].error_code, 0, "version {version}");
    }
    for version in 1..=5 {
        let topic_names = vec![format!("t{}", version + 1).into()];
        let answer = client
            .call(
                version,
                &DeleteTopicsRequest {
                    topic_names,
                    ..Default::default()
                },
            )
            .await;
        assert_eq!(answer.responses[0].error_code, 0, "version {version}");
    }
    assert_eq!(names(&mut client).await, [("t7".to_owned(), 1)]);
}

#[tokio::test]
async fn what_is_only_validated_is_not_created() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    let request = CreateTopicsRequest {
        topics: vec![topic("a", 2, &[])],
        validate_only: true,
        ..Default::default()
    };
    let answer = client.call(7, &request).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (0, 2));
    assert!(cluster.controller.created.lock()[0].validate_only);
    assert_eq!(names(&mut client).await, []);
}

#[tokio::test]
async fn without_a_controller_requests_time_out() {
    let cluster = Cluster::start().await;
    *cluster.controller.away.lock() = true;
    let mut client = cluster.connect().await;
    let request = CreateTopicsRequest {
        topics: vec![topic("a", 1, &[]), topic("b", 1, &[])],
        timeout_ms: 1,
        ..Default::default()
    };
    let answer = client.call(7, &request).await;
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [7, 7]);
}

#[tokio::test]
async fn a_controller_that_comes_back_in_time_decides() {
    let cluster = Cluster::start().await;
    *cluster.controller.away.lock() = true;
    let away = cluster.controller.away.clone();
    tokio::spawn(async move {
        // The request comes first, and is tried again meanwhile.
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        *away.lock() = false;
    });
    assert_eq!(cluster.create("a", 1, &[]).await.topics[0].error_code, 0);
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let cluster = Cluster::start().await;
    cluster.create("a", 1, &[]).await;
    let id = cluster.create("b", 1, &[]).await.topics[0].topic_id;
    let mut client = cluster.connect().await;
    let state = |name: Option<&str>, topic_id| DeleteTopicState {
        name: name.map(Into::into),
        topic_id,
        ..Default::default()
    };
    let unknown = Uuid::from_u128(99);
    let request = DeleteTopicsRequest {
        topics: vec![
            state(Some("a"), Uuid::nil()),
            state(None, id),
            state(None, unknown),
            state(Some("x"), Uuid::nil()),
        ],
        ..Default::default()
    };
    let answer = client.call(6, &request).await;
    let rows: Vec<_> = answer
        .responses
        .iter()
        .map(|r| (r.error_code, r.name.as_deref(), r.topic_id))
        .collect();
    assert_eq!((rows[0].0, rows[0].1), (0, Some("a")));
    assert_eq!(rows[1], (0, Some("b"), id), "the name is given back");
    assert_eq!(rows[2], (100, None, unknown));
    assert_eq!(rows[3].0, 3);
    assert_eq!(names(&mut client).await, [], "gone when the answer is there");
}

#[tokio::test]
async fn rule_105_old_versions_do_not_know_that_deletion_can_be_disabled() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    let request = DeleteTopicsRequest {
        topic_names: vec!["protected".into()],
        ..Default::default()
    };
    for (version, code) in [(1, 42), (2, 42), (3, 73), (5, 73)] {
        assert_eq!(
            client.call(version, &request).await.responses[0].error_code,
            code,
            "version {version}"
        );
    }
}

#[tokio::test]
async fn partitions_are_added() {
    let cluster = Cluster::start().await;
    cluster.create("a", 1, &[]).await;
    let mut client = cluster.connect().await;
    let assigned = |count: usize| {
        let assignment = CreatePartitionsAssignment {
            broker_ids: vec![0],
            ..Default::default()
        };
        Some(vec![assignment; count])
    };
    let mut grow = async |name: &str, count, assignments| {
        let topic = CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments,
            ..Default::default()
        };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: 5_000,
            ..Default::default()
        };
        client.call(3, &request).await.results[0].error_code
    };
    assert_eq!(grow("a", 3, None).await, 0);
    assert_eq!(grow("a", 5, assigned(2)).await, 0);
    assert_eq!(grow("a", 7, assigned(1)).await, 39, "assignments reach the controller");
    assert_eq!(grow("a", 7, assigned(0)).await, 39, "an empty list is not no list");
    assert_eq!(grow("x", 7, None).await, 3);
    assert_eq!(names(&mut client).await, [("a".to_owned(), 5)]);
}
