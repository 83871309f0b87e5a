//! What is wanted of the balance, and how much of a plan begins at a time.

use std::collections::BTreeMap;

use highwater_proto::metadata::Rebalance;

use super::*;
use crate::cluster::move_replicas::next_moves;
use crate::cluster::planner::{Load, PlannedMove};

fn begin(onto: &[i32], throttle: Option<u64>) -> WantRebalance {
    WantRebalance::Begin {
        onto: nodes(onto),
        throttle,
    }
}

#[test]
fn a_rebalance_has_its_limit_until_nothing_of_it_is_left() {
    let mut cluster = Cluster::with_brokers(3);
    let refusal = cluster.run(&begin(&[2, 9], Some(5))).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::BrokerIdNotRegistered);
    assert_eq!(cluster.image.rebalance, Rebalance::default());
    cluster.run(&begin(&[3, 2, 3], Some(5))).unwrap();
    let wanted = Rebalance {
        wanted: true,
        onto: nodes(&[2, 3]),
        throttle: Some(5),
        drain_throttle: None,
    };
    assert_eq!(cluster.image.rebalance, wanted);
    let revision = cluster.image.revision;
    cluster.run(&begin(&[2, 3], Some(5))).unwrap();
    assert_eq!(cluster.image.revision, revision, "asked again it changes nothing");

    let drain = |throttle| SetNodeDuty {
        nodes: nodes(&[1]),
        change: DutyChange::Decommission { throttle },
    };
    cluster.run(&drain(Some(7))).unwrap();
    cluster.run(&WantRebalance::Cancel).unwrap();
    let cancelled = Rebalance {
        wanted: false,
        onto: Vec::new(),
        throttle: Some(5),
        drain_throttle: Some(7),
    };
    assert_eq!(
        cluster.image.rebalance, cancelled,
        "what is under way goes on as it did"
    );
    cluster.run(&WantRebalance::Done).unwrap();
    let drain_only = Rebalance {
        drain_throttle: Some(7),
        ..Rebalance::default()
    };
    assert_eq!(cluster.image.rebalance, drain_only);
    let stored = MetadataImage::from_snapshot(&cluster.image.snapshot());
    assert_eq!(stored, cluster.image);
    cluster.run(&drain(None)).unwrap();
    assert_eq!(cluster.image.rebalance, Rebalance::default());
}

#[test]
fn a_broker_that_joins_is_one_of_those_that_get_more() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.create(topic("a", 2, 2)).unwrap();
    cluster.run(&begin(&[2], Some(5))).unwrap();
    cluster.start(3);
    assert_eq!(cluster.image.rebalance.onto, nodes(&[2, 3]));
    assert_eq!(cluster.image.rebalance.throttle, Some(5));
    cluster.run(&begin(&[], None)).unwrap();
    cluster.start(4);
    assert_eq!(cluster.image.rebalance.onto, [], "all do");
    cluster.run(&WantRebalance::Done).unwrap();
    cluster.settings.auto_rebalance = false;
    cluster.start(5);
    assert!(!cluster.image.rebalance.wanted);
}

#[test]
fn what_begins_at_once_is_bounded_in_partitions_and_in_bytes() {
    let mut cluster = Cluster::with_brokers(3);
    let on_1 = |index| ManualAssignment {
        partition: PartitionIndex(index),
        brokers: nodes(&[1]),
    };
    let all_on_1 = CreatableTopic {
        assignments: (0..8).map(on_1).collect(),
        ..topic("a", -1, -1)
    };
    cluster.create(all_on_1).unwrap();
    let image = &cluster.image;
    let key = |index| cluster.key("a", index);
    let planned = |index: i32, to: i32| PlannedMove {
        key: key(index),
        epoch: image
            .partition(key(index).topic_id, key(index).partition)
            .unwrap()
            .epoch,
        target: nodes(&[to]),
        copies: nodes(&[to]),
    };
    let plan: Vec<PlannedMove> = (0..8).map(|index| planned(index, 2 + index % 2)).collect();
    let load: Load = (0..8)
        .map(|index| (key(index), [100, 10, 60, 10, 30, 10, 20, 10][index as usize]))
        .collect();
    let limits = CopyLimits {
        moves_per_broker: 3,
        bytes_per_broker: 90,
        moves: 100,
    };
    let begun = |image: &MetadataImage, limits| {
        let moves = next_moves(image, &plan, &load, limits);
        let mut begun: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for planned in moves {
            let list = begun.entry(planned.copies[0].get()).or_default();
            list.push(planned.key.partition.get());
        }
        begun
    };
    // The first is larger than all that 2 may copy at a time, and copied alone; 3 copies as many as it may.
    assert_eq!(begun(image, limits), BTreeMap::from([(2, vec![0]), (3, vec![1, 3, 5])]));
    let small = CopyLimits {
        bytes_per_broker: 165,
        ..limits
    };
    assert_eq!(
        begun(image, small),
        BTreeMap::from([(2, vec![0, 2]), (3, vec![1, 3, 5])])
    );
    let few = CopyLimits { moves: 2, ..limits };
    assert_eq!(begun(image, few).values().flatten().count(), 2);

    // What is under way counts.
    let moves = vec![planned(4, 2)];
    cluster.run(&MoveReplicas { moves });
    let busy = begun(&cluster.image, limits);
    assert_eq!(busy[&2], [2], "60 and 30 bytes are all that fits");
}
