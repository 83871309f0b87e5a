//! Creating, growing and deleting topics: rules 102 to 105 and the measured answers.

use super::*;

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(partition, brokers): &(i32, &[i32])| ManualAssignment {
        partition: PartitionIndex(*partition),
        brokers: nodes(brokers),
    };
    CreatableTopic {
        assignments: assignments.iter().map(assignment).collect(),
        ..topic(name, -1, -1)
    }
}

#[test]
fn rule_102_names() {
    let mut cluster = Cluster::with_brokers(1);
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "é", long.as_str()] {
        refused(
            cluster.create(topic(name, 1, 1)),
            ErrorCode::InvalidTopicException,
            "Topic name is invalid: ",
        );
    }
    cluster.create(topic(&long[1..], 1, 1)).unwrap();
    cluster.create(topic("a.b", 1, 1)).unwrap();
    refused(
        cluster.create(topic("a_b", 1, 1)),
        ErrorCode::InvalidTopicException,
        "collides with existing topic: a.b",
    );
    let again = CreatableTopic {
        topic_id: TopicId(Uuid::from_u128(5)),
        ..topic("a.b", 1, 1)
    };
    refused(
        cluster.create(again),
        ErrorCode::TopicAlreadyExists,
        "Topic 'a.b' already exists.",
    );
    refused(
        cluster.create(topic("__cluster_metadata", 1, 1)),
        ErrorCode::InvalidRequest,
        "prohibited",
    );
    cluster.create(topic("__consumer_offsets", 1, 1)).unwrap();
    // Two colliding names that are new in one request both pass.
    let both = CreateTopics {
        topics: vec![topic("c.d", 1, 1), topic("c_d", 1, 1)],
        validate_only: false,
    };
    assert!(cluster.run(&both).iter().all(|created| created.result.is_ok()));
}

#[test]
fn rule_103_counts_and_replication_factors() {
    let mut cluster = Cluster::with_brokers(1);
    refused(
        cluster.create(topic("a", 0, 0)),
        ErrorCode::InvalidReplicationFactor,
        "larger than 0, or -1",
    );
    refused(
        cluster.create(topic("a", 1, -2)),
        ErrorCode::InvalidReplicationFactor,
        "larger than 0",
    );
    refused(
        cluster.create(topic("a", 0, 1)),
        ErrorCode::InvalidPartitions,
        "non-positive",
    );
    let text = "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
                because only 1 broker(s) are registered.";
    refused(
        cluster.create(topic("a", 1, 3)),
        ErrorCode::InvalidReplicationFactor,
        text,
    );
    cluster.register(2);
    assert_eq!(
        cluster.create(topic("fenced-counts", 1, 2)).unwrap().replication_factor,
        2
    );
    assert_eq!(cluster.partition("fenced-counts", 0).isr, nodes(&[1]));
    cluster.fence(1);
    refused(
        cluster.create(topic("a", 1, 1)),
        ErrorCode::InvalidReplicationFactor,
        "All brokers are currently fenced",
    );
}

#[test]
fn rule_103_defaults_come_from_the_settings() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.settings.num_partitions = 4;
    cluster.settings.default_replication_factor = 2;
    let shape = cluster.create(topic("a", -1, -1)).unwrap();
    assert_eq!((shape.partitions, shape.replication_factor), (4, 2));
    assert_eq!(cluster.image.topic("a").unwrap().partitions.len(), 4);
}

#[test]
fn rule_103_requests_as_a_whole() {
    let mut cluster = Cluster::with_brokers(1);
    let request = CreateTopics {
        topics: vec![topic("a", 1, 1), topic("a", 2, 1)],
        validate_only: false,
    };
    let mut results = cluster.run(&request);
    assert_eq!(results.len(), 1, "one answer for a name that is there twice");
    refused(
        results.remove(0).result,
        ErrorCode::InvalidRequest,
        "Duplicate topic name.",
    );
    let request = CreateTopics {
        topics: vec![topic("a", 10_000, 1), topic("b", 1, 1)],
        validate_only: false,
    };
    let results = cluster.run(&request);
    assert_eq!(results.len(), 2);
    for created in results {
        refused(
            created.result,
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        );
    }
    let revision = cluster.image.revision;
    let request = CreateTopics {
        topics: vec![topic("a", 3, 1)],
        validate_only: true,
    };
    assert_eq!(cluster.run(&request).remove(0).result.unwrap().partitions, 3);
    assert_eq!(cluster.image.revision, revision, "validate_only changes nothing");
}

#[test]
fn rule_103_manual_assignments() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.register(3);
    let shape = cluster.create(assigned("good", &[(1, &[2, 1]), (0, &[3, 2])])).unwrap();
    assert_eq!((shape.partitions, shape.replication_factor), (2, 2));
    assert_eq!(cluster.partition("good", 0).replicas, nodes(&[3, 2]));
    assert_eq!(
        (
            cluster.partition("good", 0).leader,
            cluster.partition("good", 0).isr.clone()
        ),
        (Some(NodeId(2)), nodes(&[2]))
    );
    type Assignments<'a> = &'a [(i32, &'a [i32])];
    let bad: [(Assignments<'_>, &str); 7] = [
        (&[(0, &[])], "empty replica list"),
        (&[(0, &[1, 1])], "includes the broker 1 more than once"),
        (&[(0, &[9])], "includes broker 9, but no such broker is registered"),
        (
            &[(0, &[1, 2]), (1, &[1])],
            "not consistent with previous partitions, which have 2 replica(s)",
        ),
        (&[(0, &[1]), (2, &[1])], "consecutive 0-based integer sequence"),
        (
            &[(0, &[1]), (0, &[2])],
            "multiple manual partition assignments for partition 0",
        ),
        (&[(0, &[3])], "are fenced or in controlled shutdown"),
    ];
    for (assignments, text) in bad {
        refused(
            cluster.create(assigned("bad", assignments)),
            ErrorCode::InvalidReplicaAssignment,
            text,
        );
    }
    let both = CreatableTopic {
        partitions: 1,
        ..assigned("bad", &[(0, &[1])])
    };
    refused(
        cluster.create(both),
        ErrorCode::InvalidRequest,
        "numPartitions was not set to -1",
    );
    let both = CreatableTopic {
        replication_factor: 1,
        ..assigned("bad", &[(0, &[1])])
    };
    refused(
        cluster.create(both),
        ErrorCode::InvalidRequest,
        "replication factor was not set to -1",
    );
}

#[test]
fn rule_103_configs_are_validated() {
    let mut cluster = Cluster::with_brokers(1);
    let with = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![(name.into(), value.map(str::to_owned))],
        ..topic("a", 1, 1)
    };
    refused(
        cluster.create(with("nonsense", Some("1"))),
        ErrorCode::InvalidConfig,
        "unknown topic config",
    );
    refused(
        cluster.create(with("min.insync.replicas", Some("0"))),
        ErrorCode::InvalidConfig,
        "invalid value \"0\" for min.insync.replicas",
    );
    refused(
        cluster.create(with("retention.ms", None)),
        ErrorCode::InvalidConfig,
        "Null value",
    );
    let shape = cluster.create(with("retention.ms", Some("5"))).unwrap();
    assert_eq!(shape.configs["retention.ms"], "5");
}

#[test]
fn creation_is_idempotent_by_the_callers_topic_id() {
    let mut cluster = Cluster::with_brokers(1);
    let first = cluster.create(topic("a", 3, 1)).unwrap();
    let revision = cluster.image.revision;
    assert_eq!(cluster.create(topic("a", 3, 1)).unwrap(), first);
    assert_eq!(cluster.image.revision, revision);
    let other_name = CreatableTopic {
        topic_id: first.topic_id,
        ..topic("b", 1, 1)
    };
    refused(cluster.create(other_name), ErrorCode::InvalidRequest, "in use");
}

#[test]
fn a_creation_larger_than_a_step_leaves_nothing_when_it_is_interrupted() {
    let mut cluster = Cluster::with_brokers(1);
    let request = CreateTopics {
        topics: vec![topic("wide", 500, 1)],
        validate_only: false,
    };
    assert_eq!(decide(&cluster.image, &request, &cluster.settings).steps.len(), 4);
    cluster.run_and_stop(&request, 3);
    assert!(
        cluster.image.topic("wide").is_none(),
        "partitions first, the topic key last"
    );
    assert_eq!(cluster.run(&request).remove(0).result.unwrap().partitions, 500);
    // Growth is the same with the count, deletion with the topic key first.
    let growth = TopicGrowth {
        name: "wide".into(),
        count: 900,
        assignments: None,
    };
    cluster.run_and_stop(
        &CreatePartitions {
            topics: vec![growth],
            validate_only: false,
        },
        2,
    );
    assert_eq!(cluster.image.topic("wide").unwrap().partitions.len(), 500);
    let target = TopicTarget {
        name: Some("wide".into()),
        ..TopicTarget::default()
    };
    cluster.run_and_stop(&DeleteTopics { targets: vec![target] }, 1);
    assert!(cluster.image.topic("wide").is_none());
}

#[test]
fn placement_spreads_leaders_replicas_and_racks() {
    let mut cluster = Cluster::new();
    for id in 1..=6 {
        let mut command = cluster.register_command(id, 1_000 + id as u128);
        command.registration.rack = Some(["a", "b", "c"][(id % 3) as usize].into());
        cluster.run(&command).unwrap();
        cluster.unfence(id, DistrustedReplicas::default());
    }
    cluster.create(topic("a", 12, 3)).unwrap();
    let topic = cluster.image.topic("a").unwrap();
    let mut leaders = BTreeMap::new();
    let mut replicas = BTreeMap::new();
    for partition in &topic.partitions {
        let racks: BTreeSet<_> = partition.replicas.iter().map(|node| node.get() % 3).collect();
        assert_eq!(racks.len(), 3, "one replica in each rack: {:?}", partition.replicas);
        *leaders.entry(partition.leader.unwrap()).or_insert(0) += 1;
        for replica in &partition.replicas {
            *replicas.entry(*replica).or_insert(0) += 1;
        }
    }
    assert!(
        leaders.len() == 6 && leaders.values().all(|count| *count == 2),
        "{leaders:?}"
    );
    assert!(replicas.values().all(|count| *count == 6), "{replicas:?}");
}

#[test]
fn rule_104_more_partitions() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.create(topic("a", 2, 1)).unwrap();
    let grow = |count: i32, assignments: Option<&[&[i32]]>| CreatePartitions {
        topics: vec![TopicGrowth {
            name: "a".into(),
            count,
            assignments: assignments.map(|lists| {
                let list = |(index, list): (i32, &&[i32])| ManualAssignment {
                    partition: PartitionIndex(index),
                    brokers: nodes(list),
                };
                (0..).zip(lists).map(list).collect()
            }),
        }],
        validate_only: false,
    };
    let mut run = |request: &CreatePartitions| cluster.run(request).remove(0).result;
    refused(
        run(&grow(2, None)),
        ErrorCode::InvalidPartitions,
        "Topic already has 2 partition(s).",
    );
    refused(
        run(&grow(1, None)),
        ErrorCode::InvalidPartitions,
        "1 would not be an increase",
    );
    refused(
        run(&grow(i32::MAX, None)),
        ErrorCode::PolicyViolation,
        "Excessively large",
    );
    refused(
        run(&grow(4, Some(&[&[1]]))),
        ErrorCode::InvalidReplicaAssignment,
        "only 1 assignment(s) were specified",
    );
    refused(
        run(&grow(3, Some(&[&[1, 2]]))),
        ErrorCode::InvalidReplicaAssignment,
        "have 1 replica(s)",
    );
    let twice = CreatePartitions {
        topics: [grow(3, None).topics, grow(4, None).topics].concat(),
        validate_only: false,
    };
    refused(run(&twice), ErrorCode::InvalidRequest, "Duplicate topic name.");
    let mut unknown = grow(3, None);
    unknown.topics[0].name = "b".into();
    refused(run(&unknown), ErrorCode::UnknownTopicOrPartition, "");
    run(&grow(4, Some(&[&[2], &[2]]))).unwrap();
    assert_eq!(cluster.image.topic("a").unwrap().partitions.len(), 4);
    assert_eq!(cluster.partition("a", 3).leader, Some(NodeId(2)));
}

#[test]
fn rule_105_deletion_by_name_or_id() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 200, 1)).unwrap();
    let id = cluster.create(topic("b", 1, 1)).unwrap().topic_id;
    let target = |name: Option<&str>, topic_id| TopicTarget {
        name: name.map(str::to_owned),
        topic_id,
    };
    let mut delete = |targets: &[TopicTarget]| {
        cluster
            .run(&DeleteTopics {
                targets: targets.to_vec(),
            })
            .remove(0)
            .result
    };
    let zero = TopicId::ZERO;
    refused(
        delete(&[target(Some("x"), zero)]),
        ErrorCode::UnknownTopicOrPartition,
        "",
    );
    refused(
        delete(&[target(None, TopicId(Uuid::from_u128(3)))]),
        ErrorCode::UnknownTopicId,
        "",
    );
    refused(delete(&[target(None, zero)]), ErrorCode::InvalidRequest, "Neither");
    refused(delete(&[target(Some("b"), id)]), ErrorCode::InvalidRequest, "both");
    refused(
        delete(&[target(Some("b"), zero), target(None, id)]),
        ErrorCode::InvalidRequest,
        "Duplicate",
    );
    delete(&[target(None, id)]).unwrap();
    delete(&[target(Some("a"), zero)]).unwrap();
    assert_eq!(cluster.image.topic_count(), 0);
    cluster.settings.delete_topic_enable = false;
    cluster.create(topic("a", 1, 1)).unwrap();
    let result = cluster
        .run(&DeleteTopics {
            targets: vec![target(Some("a"), zero)],
        })
        .remove(0)
        .result;
    refused(result, ErrorCode::TopicDeletionDisabled, "");
}
