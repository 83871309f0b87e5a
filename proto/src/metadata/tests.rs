use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::convert::{ConvertError, Received, UpdateAssembler, snapshot_to_grpc, update_to_grpc};
use super::*;
use crate::grpc;
use crate::types::*;

fn topic_id(n: u8) -> TopicId {
    TopicId(Uuid::from_u128(u128::from(n) + 1))
}

fn put_topic(name: &str, id: u8, partition_count: i32) -> Change {
    Change::PutTopic {
        name: name.into(),
        topic_id: topic_id(id),
        partition_count,
        configs: BTreeMap::new(),
        owner: None,
    }
}

fn put_partition(id: u8, index: i32, leader: i32) -> Change {
    let node = NodeId(leader);
    let partition = Partition {
        replicas: vec![node],
        isr: vec![node],
        leader: Some(node),
        ..Partition::default()
    };
    Change::PutPartition(topic_id(id), PartitionIndex(index), partition)
}

fn update(revision: i64, changes: Vec<Change>) -> MetadataUpdate {
    MetadataUpdate {
        revision: Revision(revision),
        changes,
    }
}

#[test]
fn partitions_exist_for_nobody_until_the_topic_key_comes() {
    let image = MetadataImage::default().apply(&update(3, vec![put_partition(1, 0, 7), put_partition(1, 1, 8)]));
    assert_eq!(image.partition(topic_id(1), PartitionIndex(0)), None);
    assert_eq!(image.orphan_partitions().count(), 2);

    let image = image.apply(&update(4, vec![put_topic("a", 1, 1)]));
    let partition = image.partition(topic_id(1), PartitionIndex(0)).unwrap();
    assert_eq!(
        (partition.leader, partition.epoch),
        (Some(NodeId(7)), PartitionEpoch(3))
    );
    assert_eq!(
        image.partition(topic_id(1), PartitionIndex(1)),
        None,
        "at or above the count"
    );

    let image = image.apply(&update(5, vec![put_topic("a", 1, 2)]));
    assert_eq!(image.topic("a").unwrap().partitions.len(), 2);
    let image = image.apply(&update(
        6,
        vec![Change::DeleteTopic {
            name: "a".into(),
            topic_id: topic_id(1),
        }],
    ));
    assert!(image.topic("a").is_none());
    assert_eq!(image.orphan_partitions().count(), 2, "swept later, key by key");
}

#[test]
fn an_update_at_or_below_the_revision_changes_nothing() {
    let image = MetadataImage::default().apply(&update(3, vec![put_topic("a", 1, 0)]));
    assert_eq!(image.apply(&update(3, vec![put_topic("b", 2, 0)])), image);
    assert_eq!(image.apply(&update(4, vec![])).revision, Revision(4));
}

#[test]
fn deleting_another_incarnation_of_a_name_is_ignored() {
    let image = MetadataImage::default().apply(&update(3, vec![put_topic("a", 2, 0)]));
    let image = image.apply(&update(
        4,
        vec![Change::DeleteTopic {
            name: "a".into(),
            topic_id: topic_id(1),
        }],
    ));
    assert_eq!(image.topic("a").unwrap().id, topic_id(2));
}

#[test]
fn snapshots_never_go_back_and_never_change_the_cluster() {
    let cluster = |generation| {
        Change::PutCluster(ClusterInfo {
            cluster_id: "c".into(),
            generation,
            format_version: 1,
        })
    };
    let old = MetadataImage::default().apply(&update(3, vec![cluster(1)]));
    let new = old.apply(&update(9, vec![put_topic("a", 1, 0)]));
    assert!(matches!(
        new.apply_snapshot(&old.snapshot()),
        Err(SnapshotRefused::Older { .. })
    ));
    assert_eq!(old.apply_snapshot(&new.snapshot()), Ok(new.clone()));
    // A restored store has a higher generation and may have a lower revision.
    let restored = MetadataImage::default().apply(&update(4, vec![cluster(2)]));
    assert_eq!(new.apply_snapshot(&restored.snapshot()), Ok(restored));
    let foreign = MetadataImage::default().apply(&update(99, vec![Change::PutCluster(ClusterInfo::default())]));
    assert!(new.apply_snapshot(&foreign.snapshot()).is_err());
}

#[test]
fn the_difference_names_what_changed_and_nothing_else() {
    let both = vec![
        put_partition(1, 0, 7),
        put_partition(1, 1, 8),
        put_topic("a", 1, 2),
        put_topic("b", 2, 0),
    ];
    let old = MetadataImage::default().apply(&update(1, both));
    let new = old.apply(&update(
        2,
        vec![put_partition(1, 1, 9), put_partition(3, 0, 9), put_topic("c", 3, 1)],
    ));
    let new = new.apply(&update(
        3,
        vec![Change::DeleteTopic {
            name: "b".into(),
            topic_id: topic_id(2),
        }],
    ));
    let difference = diff(&old, &new);
    let names = |topics: &[&std::sync::Arc<Topic>]| topics.iter().map(|t| t.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&difference.topics_created), ["c"]);
    assert_eq!(names(&difference.topics_deleted), ["b"]);
    assert_eq!(difference.topics_changed.len(), 1);
    let partitions: Vec<_> = difference
        .partitions
        .iter()
        .map(|p| (p.topic.name.to_string(), p.index.get()))
        .collect();
    assert_eq!(partitions, [("a".to_owned(), 1), ("c".to_owned(), 0)]);
    assert_eq!(diff(&new, &new.clone()), ImageDiff::default());
}

#[test]
fn malformed_messages_are_refused() {
    let message = |change: grpc::change::Change| grpc::MetadataUpdate {
        snapshot: false,
        revision: 1,
        changes: vec![grpc::Change { change: Some(change) }],
        last: true,
    };
    let mut assembler = UpdateAssembler::default();
    let short_id = grpc::change::DeletePartition {
        topic_id: vec![1, 2].into(),
        index: 0,
    };
    let refused = assembler.push(message(grpc::change::Change::DeletePartition(short_id)));
    assert_eq!(refused, Err(ConvertError::NotAnId("topic_id")));
    let negative = grpc::change::DeletePartition {
        topic_id: vec![0; 16].into(),
        index: -1,
    };
    let refused = assembler.push(message(grpc::change::Change::DeletePartition(negative)));
    assert_eq!(refused, Err(ConvertError::OutOfRange("partition")));
    let refused = assembler.push(message(grpc::change::Change::DeleteShard(grpc::ShardId {
        kind: 9,
        index: 0,
    })));
    assert_eq!(refused, Err(ConvertError::OutOfRange("shard kind")));
    let part = grpc::MetadataUpdate {
        snapshot: true,
        revision: 1,
        changes: vec![],
        last: false,
    };
    assert_eq!(assembler.push(part), Ok(None));
    let delta = grpc::MetadataUpdate {
        snapshot: false,
        revision: 2,
        changes: vec![],
        last: true,
    };
    assert_eq!(assembler.push(delta), Err(ConvertError::SnapshotInterrupted));
}

fn any_rebalance() -> impl Strategy<Value = Rebalance> {
    (any::<bool>(), 1u64..9000).prop_map(|(wanted, limit)| Rebalance {
        wanted,
        onto: if wanted { vec![NodeId(2), NodeId(1)] } else { Vec::new() },
        throttle: wanted.then_some(limit),
        drain_throttle: Some(limit).filter(|limit| limit % 2 == 0),
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let topic = 0u8..3;
    let registration =
        (any::<u128>(), 0u8..2, proptest::option::of("[a-c]{1,3}")).prop_map(|(id, role, rack)| NodeRegistration {
            role: if role == 0 {
                NodeRole::Broker
            } else {
                NodeRole::Coordinator
            },
            incarnation: Uuid::from_u128(id),
            directory_id: Uuid::from_u128(id ^ 1),
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".into(),
                host: "h".into(),
                port: (id % 65_536) as u16,
            }],
            rack,
            api_ranges: vec![(0, 0, 13)],
            pod_uid: Some("7e1d".into()),
        });
    let partition = (0i32..4, 0i32..4, any::<bool>()).prop_map(|(leader, epoch, online)| Partition {
        replicas: vec![NodeId(leader), NodeId(9)],
        isr: vec![NodeId(leader)],
        leader: online.then_some(NodeId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        ..Partition::default()
    });
    let state = prop_oneof![
        Just(NodeState::Active),
        Just(NodeState::Cordoned),
        Just(NodeState::Draining),
        Just(NodeState::Fencing),
        Just(NodeState::Fenced)
    ];
    let duty = prop_oneof![Just(NodeDuty::Full), Just(NodeDuty::Cordoned), Just(NodeDuty::Draining)];
    let disk = (any::<bool>(), any::<bool>(), 0u8..=10).prop_map(|(full, stalled, tenths)| NodeDisk {
        pressure: if full { DiskPressure::Full } else { DiskPressure::None },
        tenths,
        stalled,
    });
    let shard = (any::<bool>(), 0i32..2).prop_map(|(group, index)| ShardId {
        kind: if group {
            ShardKind::Group
        } else {
            ShardKind::Transaction
        },
        index: PartitionIndex(index),
    });
    let resource = prop_oneof![
        Just(ConfigResource::ClusterDefault),
        (0i32..3).prop_map(|id| ConfigResource::Broker(NodeId(id))),
        Just(ConfigResource::Group("g".into()))
    ];
    let assignment = (proptest::option::of(0i32..3), 0i32..9).prop_map(|(owner, epoch)| ShardAssignment {
        owner: owner.map(NodeId),
        epoch: CoordinatorEpoch(epoch),
    });
    prop_oneof![
        1 => Just(Change::PutCluster(ClusterInfo { cluster_id: "c".into(), generation: 1, format_version: 1 })),
        2 => (0i32..4, registration).prop_map(|(id, r)| Change::PutNodeRegistration(NodeId(id), r)),
        2 => (0i32..4, state).prop_map(|(id, state)| Change::PutNodeState(NodeId(id), state)),
        2 => (0i32..4, duty).prop_map(|(id, duty)| Change::PutNodeDuty(NodeId(id), duty)),
        2 => (0i32..4, disk).prop_map(|(id, disk)| Change::PutNodeDisk(NodeId(id), disk)),
        1 => (0i32..4).prop_map(|id| Change::DeleteNode(NodeId(id))),
        // One name per id, as the core chooses them; names are shared by ids to cover recreated topics.
        6 => (topic.clone(), 0i32..4).prop_map(|(id, count)| put_topic(["a", "b"][usize::from(id % 2)], id, count)),
        3 => topic.clone().prop_map(|id| Change::DeleteTopic {
            name: ["a", "b"][usize::from(id % 2)].into(),
            topic_id: topic_id(id),
        }),
        8 => (topic.clone(), 0i32..4, partition)
            .prop_map(|(id, i, p)| Change::PutPartition(topic_id(id), PartitionIndex(i), p)),
        4 => (topic, 0i32..4).prop_map(|(id, i)| Change::DeletePartition(topic_id(id), PartitionIndex(i))),
        2 => (shard.clone(), assignment).prop_map(|(id, assignment)| Change::PutShard(id, assignment)),
        1 => shard.prop_map(Change::DeleteShard),
        1 => (resource.clone(), "[a-c]").prop_map(|(r, v)| Change::PutConfig(r, BTreeMap::from([(v.clone(), v)]))),
        1 => resource.prop_map(Change::DeleteConfig),
        1 => (0i64..9000).prop_map(|next| Change::PutProducerIds(ProducerId(next))),
        1 => any_rebalance().prop_map(Change::PutRebalance),
    ]
}

proptest! {
    /// Updates one by one, the snapshot of their result, and both over the wire are the same image; and the visible
    /// partitions are exactly the keys that are there, from 0 without a gap, below the topic's count.
    #[test]
    fn updates_one_by_one_equal_the_snapshot_of_the_result(batches in vec(vec(any_change(), 0..6), 1..25)) {
        let mut image = MetadataImage::default();
        let mut streamed = MetadataImage::default();
        let mut assembler = UpdateAssembler::default();
        let mut keys = BTreeMap::new();
        for (revision, changes) in (1..).zip(batches) {
            for change in &changes {
                match change {
                    Change::PutPartition(topic, index, _) => { keys.insert((*topic, *index), revision); }
                    Change::DeletePartition(topic, index) => { keys.remove(&(*topic, *index)); }
                    _ => {}
                }
            }
            let update = update(revision, changes);
            image = image.apply(&update);
            match assembler.push(update_to_grpc(&update)).unwrap() {
                Some(Received::Update(update)) => streamed = streamed.apply(&update),
                other => panic!("{other:?}"),
            }
            for topic in image.topics() {
                let declared = image.declared_partition_count(topic.id).unwrap();
                let there = (0..declared).take_while(|index| keys.contains_key(&(topic.id, PartitionIndex(*index))));
                prop_assert_eq!(topic.partitions.len(), there.count());
                for (index, partition) in topic.indexed_partitions() {
                    prop_assert_eq!(partition.epoch.get(), keys[&(topic.id, index)]);
                }
            }
            let kept = image.partition_count() + image.orphan_partitions().count();
            prop_assert_eq!(kept, keys.len(), "no key is lost");
        }
        prop_assert_eq!(&streamed, &image);
        let snapshot = image.snapshot();
        prop_assert_eq!(&MetadataImage::from_snapshot(&snapshot), &image);
        let mut backwards = snapshot.clone();
        backwards.entries.reverse();
        prop_assert_eq!(&MetadataImage::from_snapshot(&backwards), &image, "whatever the order of the keys");
        let mut received = None;
        for message in snapshot_to_grpc(&snapshot) {
            received = assembler.push(message).unwrap();
        }
        match received {
            Some(Received::Snapshot(snapshot)) => {
                prop_assert_eq!(&MetadataImage::default().apply_snapshot(&snapshot).unwrap(), &image);
            }
            other => panic!("{other:?}"),
        }
    }
}
