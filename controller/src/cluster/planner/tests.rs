//! Plans of random clusters: nothing is lost, everything is even, and there is nothing left to plan.

use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::metadata::{Change, MetadataUpdate, NodeDuty, NodeRegistration, NodeRole, NodeState, Partition};
use highwater_proto::types::{LeaderEpoch, PartitionIndex, Revision};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const EVERYTHING: PlanOptions = PlanOptions {
    balance: true,
    onto: Vec::new(),
    max_moves: usize::MAX,
};

#[derive(Clone, Debug)]
struct Shape {
    /// Racks of the brokers 1, 2, ...; none in a cluster without racks.
    racks: Vec<Option<u8>>,
    duties: Vec<u8>,
    /// Topics of partitions of replicas.
    topics: Vec<Vec<Vec<i32>>>,
}

fn image(shape: &Shape) -> MetadataImage {
    let mut changes = Vec::new();
    for (position, rack) in shape.racks.iter().enumerate() {
        let id = NodeId(position as i32 + 1);
        let registration = NodeRegistration {
            role: NodeRole::Broker,
            incarnation: Uuid::from_u128(1),
            directory_id: Uuid::from_u128(position as u128),
            endpoints: Vec::new(),
            rack: rack.map(|rack| format!("rack{rack}")),
            api_ranges: Vec::new(),
            pod_uid: None,
        };
        changes.push(Change::PutNodeRegistration(id, registration));
        let duty = match shape.duties[position] {
            0 => NodeDuty::Draining,
            1 => NodeDuty::Cordoned,
            _ => NodeDuty::Full,
        };
        let state = if shape.duties[position] == 2 {
            NodeState::Fenced
        } else {
            NodeState::Active
        };
        changes.push(Change::PutNodeDuty(id, duty));
        changes.push(Change::PutNodeState(id, state));
    }
    for (number, partitions) in shape.topics.iter().enumerate() {
        let topic_id = TopicId(Uuid::from_u128(number as u128 + 1));
        for (index, replicas) in (0..).zip(partitions) {
            let replicas: Vec<NodeId> = replicas.iter().copied().map(NodeId).collect();
            let partition = Partition {
                isr: replicas.clone(),
                leader: replicas.first().copied(),
                leader_epoch: LeaderEpoch(0),
                replicas,
                ..Partition::default()
            };
            changes.push(Change::PutPartition(topic_id, PartitionIndex(index), partition));
        }
        changes.push(Change::PutTopic {
            name: format!("t{number:03}"),
            topic_id,
            partition_count: partitions.len() as i32,
            configs: BTreeMap::new(),
            owner: None,
        });
    }
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(1),
        changes,
    })
}

/// The image once a plan is carried out.
fn carried_out(image: &MetadataImage, plan: &Plan) -> MetadataImage {
    let put = |planned: &PlannedMove| {
        let before = image.partition(planned.key.topic_id, planned.key.partition).unwrap();
        let after = Partition {
            replicas: planned.target.clone(),
            isr: planned.target.clone(),
            leader: planned.target.first().copied(),
            ..(**before).clone()
        };
        Change::PutPartition(planned.key.topic_id, planned.key.partition, after)
    };
    image.apply(&MetadataUpdate {
        revision: Revision(image.revision.get() + 1),
        changes: plan.moves.iter().map(put).collect(),
    })
}

fn shapes(racks: bool, duties: bool) -> impl Strategy<Value = Shape> {
    (2..7usize, 1..4usize).prop_flat_map(move |(brokers, factor)| {
        let factor = factor.min(brokers);
        let rack = move |()| {
            if racks {
                (0..3u8).prop_map(Some).boxed()
            } else {
                Just(None).boxed()
            }
        };
        let duty = if duties { (0..12u8).boxed() } else { Just(9u8).boxed() };
        // Not all brokers have replicas: some have just joined.
        let old = factor.max(brokers / 2)..=brokers;
        let partitions = old.prop_flat_map(move |old| {
            let all: Vec<i32> = (1..=old as i32).collect();
            let replicas = proptest::sample::subsequence(all, factor).prop_shuffle();
            proptest::collection::vec(proptest::collection::vec(replicas, 1..12), 0..6)
        });
        (
            proptest::collection::vec(Just(()).prop_flat_map(rack), brokers),
            proptest::collection::vec(duty, brokers),
            partitions,
        )
            .prop_map(|(racks, duties, topics)| Shape { racks, duties, topics })
    })
}

fn counts(image: &MetadataImage, of: impl Fn(&Partition) -> Vec<NodeId>) -> Vec<usize> {
    let takers = image.brokers().filter(|node| takes_replicas(node));
    let mut counts: BTreeMap<NodeId, usize> = takers.map(|node| (node.id, 0)).collect();
    for partition in image.topics().flat_map(|topic| &topic.partitions) {
        for node in of(partition) {
            counts.entry(node).and_modify(|count| *count += 1);
        }
    }
    counts.into_values().collect()
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
}

/// Pairs of replicas in one rack.
fn conflicts(image: &MetadataImage, partition: &Partition) -> usize {
    let racks: Vec<_> = partition
        .replicas
        .iter()
        .filter_map(|id| image.node(*id)?.registration.rack.clone())
        .collect();
    let distinct: BTreeSet<_> = racks.iter().collect();
    racks.len() - distinct.len()
}

/// What holds of every plan.
fn check(image: &MetadataImage, plan: &Plan) -> MetadataImage {
    let after = carried_out(image, plan);
    for planned in &plan.moves {
        let before = image.partition(planned.key.topic_id, planned.key.partition).unwrap();
        let unique: BTreeSet<_> = planned.target.iter().collect();
        assert_eq!(unique.len(), planned.target.len(), "a replica twice");
        assert_eq!(planned.target.len(), before.replicas.len(), "a replica is lost");
        let new = planned.target.iter().filter(|node| !before.replicas.contains(node));
        let new: Vec<_> = new.copied().collect();
        assert_eq!(new, planned.copies);
        for node in new {
            let node = image.node(node).unwrap();
            assert!(takes_replicas(node), "{:?} takes nothing", node.state);
        }
    }
    let again = plan_all(&after);
    assert_eq!(again.moves, [], "the plan is not done");
    after
}

fn plan_all(image: &MetadataImage) -> Plan {
    plan(image, &Load::new(), &EVERYTHING)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn without_racks_replicas_and_leaders_are_even_within_one(shape in shapes(false, false)) {
        let image = image(&shape);
        let plan = plan_all(&image);
        let after = check(&image, &plan);
        let replicas = counts(&after, |partition| partition.replicas.clone());
        prop_assert!(spread(&replicas) <= 1, "{replicas:?}");
        // The fewest moves: what is above the even share moves, and nothing else.
        let before = counts(&image, |partition| partition.replicas.clone());
        let total: usize = before.iter().sum();
        let (share, rest) = (total / before.len(), total % before.len());
        let mut sorted = before.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let needed: usize = sorted
            .iter()
            .enumerate()
            .map(|(position, count)| count.saturating_sub(share + usize::from(position < rest)))
            .sum();
        let moved: usize = plan.moves.iter().map(|planned| planned.copies.len()).sum();
        prop_assert_eq!(moved, needed);
    }

    #[test]
    fn racks_are_never_worse_and_duties_are_respected(shape in shapes(true, true)) {
        let image = image(&shape);
        let plan = plan_all(&image);
        let after = check(&image, &plan);
        for planned in &plan.moves {
            let before = image.partition(planned.key.topic_id, planned.key.partition).unwrap();
            let now = after.partition(planned.key.topic_id, planned.key.partition).unwrap();
            let drained = before.replicas.iter().any(|id| image.node(*id).unwrap().duty == NodeDuty::Draining);
            if !drained {
                prop_assert!(conflicts(&after, now) <= conflicts(&image, before), "{before:?} {now:?}");
            }
            // Nothing leaves a broker that is cordoned or fenced.
            for gone in before.replicas.iter().filter(|id| !planned.target.contains(id)) {
                let node = image.node(*gone).unwrap();
                prop_assert!(node.state == NodeState::Active || node.duty == NodeDuty::Draining);
            }
        }
        let stuck: BTreeSet<_> = plan.stuck.iter().copied().collect();
        for topic in after.topics() {
            for (index, partition) in topic.indexed_partitions() {
                for id in &partition.replicas {
                    let key = TopicPartition { topic_id: topic.id, partition: index };
                    let drains = after.node(*id).unwrap().duty == NodeDuty::Draining;
                    prop_assert!(!drains || stuck.contains(&(*id, key)), "{id} is not empty");
                }
            }
        }
    }

    #[test]
    fn a_plan_may_be_carried_out_in_parts(shape in shapes(false, true), part in 1..4usize) {
        let mut image = image(&shape);
        for _ in 0..1_000 {
            let some = plan(&image, &Load::new(), &PlanOptions { max_moves: part, ..EVERYTHING });
            // Preferred leaders change along whole chains of brokers.
            prop_assert!(some.moves.len() <= part + shape.racks.len());
            if some.moves.is_empty() {
                let replicas = counts(&image, |partition| partition.replicas.clone());
                prop_assert!(spread(&replicas) <= 1, "{replicas:?}");
                return Ok(());
            }
            image = carried_out(&image, &some);
        }
        prop_assert!(false, "no end");
    }
}

fn even(brokers: usize, partitions: usize) -> Shape {
    let replicas = |index: usize| (0..2).map(|offset| ((index + offset) % 3) as i32 + 1).collect();
    Shape {
        racks: vec![None; brokers],
        duties: vec![9; brokers],
        topics: vec![(0..partitions).map(replicas).collect(); 2],
    }
}

#[test]
fn without_a_wish_only_draining_brokers_are_emptied() {
    let mut shape = even(4, 6);
    let drain_only = PlanOptions {
        balance: false,
        onto: Vec::new(),
        max_moves: usize::MAX,
    };
    assert_eq!(plan(&image(&shape), &Load::new(), &drain_only), Plan::default());
    shape.duties[0] = 0;
    let image = image(&shape);
    let plan = plan(&image, &Load::new(), &drain_only);
    let after = carried_out(&image, &plan);
    let loads = crate::cluster::overview::node_loads(&after);
    assert_eq!(loads.get(&NodeId(1)), None);
    assert_eq!(loads.get(&NodeId(4)).unwrap().replicas, 8, "the empty one takes them");
}

#[test]
fn what_cannot_leave_is_named() {
    let mut shape = even(3, 3);
    shape.duties = vec![0, 0, 9];
    let plan = plan_all(&image(&shape));
    let stuck: BTreeSet<NodeId> = plan.stuck.iter().map(|(node, _)| *node).collect();
    assert_eq!(
        stuck,
        BTreeSet::from([NodeId(1), NodeId(2)]),
        "two replicas, one broker left"
    );
}

#[test]
fn of_partitions_that_may_move_those_that_even_out_the_bytes_do() {
    // Broker 2 has just joined; two of four partitions move.
    let shape = Shape {
        racks: vec![None; 2],
        duties: vec![9; 2],
        topics: vec![vec![vec![1]; 4]],
    };
    let image = image(&shape);
    let weight = |index: i32| [1_000, 1, 2, 900][index as usize];
    let topic = image.topics().next().unwrap();
    let load: Load = topic
        .indexed_partitions()
        .map(|(partition, _)| {
            let key = TopicPartition {
                topic_id: topic.id,
                partition,
            };
            (key, weight(partition.get()))
        })
        .collect();
    let plan = plan(&image, &load, &EVERYTHING);
    let moved: u64 = plan.moves.iter().map(|planned| load[&planned.key]).sum();
    assert_eq!(plan.moves.len(), 2);
    assert!((900..=1_002).contains(&moved), "{moved} of 1903 bytes");
}

const GIB: u64 = 1 << 30;

fn key_of(image: &MetadataImage, topic: usize, partition: i32) -> TopicPartition {
    TopicPartition {
        topic_id: image.topics().nth(topic).unwrap().id,
        partition: PartitionIndex(partition),
    }
}

/// Bytes on each broker.
fn bytes(image: &MetadataImage, load: &Load) -> Vec<u64> {
    let mut bytes: BTreeMap<NodeId, u64> = image.brokers().map(|node| (node.id, 0)).collect();
    for (key, weight) in load {
        for node in &image.partition(key.topic_id, key.partition).unwrap().replicas {
            *bytes.get_mut(node).unwrap() += weight;
        }
    }
    bytes.into_values().collect()
}

#[test]
fn large_replicas_change_places_with_small_ones() {
    // Each has four partitions; those of broker 1 are large.
    let shape = Shape {
        racks: vec![None; 2],
        duties: vec![9; 2],
        topics: vec![[[1], [2]].iter().cycle().take(8).map(|it| it.to_vec()).collect()],
    };
    let image = image(&shape);
    let load: Load = (0..8)
        .map(|index| (key_of(&image, 0, index), if index % 2 == 0 { 100 * GIB } else { GIB }))
        .collect();
    let plan = plan(&image, &load, &EVERYTHING);
    let after = carried_out(&image, &plan);
    assert_eq!(bytes(&after, &load), [202 * GIB, 202 * GIB]);
    assert_eq!(spread(&counts(&after, |partition| partition.replicas.clone())), 0);
    assert_eq!(plan.moves.len(), 4, "two against two");
    assert_eq!(super::plan(&after, &load, &EVERYTHING), Plan::default());
}

#[test]
fn little_differences_are_not_worth_copying() {
    let shape = Shape {
        racks: vec![None; 2],
        duties: vec![9; 2],
        topics: vec![[[1], [2]].iter().cycle().take(8).map(|it| it.to_vec()).collect()],
    };
    let image = image(&shape);
    let load = |large: u64, small: u64| -> Load {
        let weight = |index: i32| if index % 2 == 0 { large } else { small };
        (0..8).map(|index| (key_of(&image, 0, index), weight(index))).collect()
    };
    for (large, small) in [(GIB / 5, 1), (105 * GIB, 100 * GIB)] {
        assert_eq!(
            plan(&image, &load(large, small), &EVERYTHING),
            Plan::default(),
            "{large} {small}"
        );
    }
    // One large partition: whoever has it has more.
    let mut one = load(GIB, GIB);
    one.insert(key_of(&image, 0, 0), 1_000 * GIB);
    let plan = plan(&image, &one, &EVERYTHING);
    assert!(
        plan.moves.iter().all(|planned| planned.key != key_of(&image, 0, 0)),
        "{plan:?}"
    );
}

#[test]
fn only_those_that_are_named_get_more() {
    let mut shape = even(5, 30);
    shape.duties[0] = 0;
    let image = image(&shape);
    let options = PlanOptions {
        onto: vec![NodeId(4)],
        ..EVERYTHING
    };
    let plan = plan(&image, &Load::new(), &options);
    let after = carried_out(&image, &plan);
    let was_on_1 = |planned: &PlannedMove| {
        let before = image.partition(planned.key.topic_id, planned.key.partition).unwrap();
        before.replicas.contains(&NodeId(1))
    };
    for planned in plan.moves.iter().filter(|planned| !was_on_1(planned)) {
        assert!(planned.copies.iter().all(|node| *node == NodeId(4)), "{planned:?}");
    }
    let replicas = counts(&after, |partition| partition.replicas.clone());
    assert_eq!(replicas.iter().sum::<usize>(), 120);
    let loads = crate::cluster::overview::node_loads(&after);
    assert!(!loads.contains_key(&NodeId(1)), "a drain goes wherever there is room");
    assert!(loads[&NodeId(4)].replicas >= 20, "{loads:?}");
    assert_eq!(super::plan(&after, &Load::new(), &options).moves, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn with_bytes_nothing_gets_worse_and_there_is_an_end(
        shape in shapes(true, true),
        weights in proptest::collection::vec(0..200u64, 80),
        part in 1..4usize,
    ) {
        let first = image(&shape);
        let load: Load = first
            .topics()
            .flat_map(|topic| topic.indexed_partitions().map(|(partition, _)| (topic.id, partition)))
            .enumerate()
            .map(|(n, (topic_id, partition))| (TopicPartition { topic_id, partition }, weights[n % weights.len()] * GIB))
            .collect();
        let counted = carried_out(&first, &plan_all(&first));
        let mut image = first;
        for _ in 0..1_000 {
            let some = plan(&image, &load, &PlanOptions { max_moves: part, ..EVERYTHING });
            if some.moves.is_empty() {
                break;
            }
            for planned in &some.moves {
                let unique: BTreeSet<_> = planned.target.iter().collect();
                prop_assert_eq!(unique.len(), planned.target.len());
            }
            image = carried_out(&image, &some);
        }
        let left = plan(&image, &load, &EVERYTHING);
        prop_assert_eq!(&left.moves, &[], "no end");
        // As even in replicas as without a look at bytes.
        let replicas = |image: &MetadataImage| spread(&counts(image, |partition| partition.replicas.clone()));
        if shape.racks.iter().all(|rack| *rack == shape.racks[0]) {
            prop_assert!(replicas(&image) <= replicas(&counted).max(1));
        }
    }
}
