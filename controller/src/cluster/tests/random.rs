//! Random commands, crashes of the controller between any two steps, and a model of which replica holds what was
//! acknowledged.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    Start {
        broker: i32,
        clean: bool,
        write_caching: bool,
        new_directory: bool,
        short: bool,
        crash_after: usize,
    },
    Fence {
        broker: i32,
        crash_after: usize,
    },
    Leave {
        broker: i32,
        now: bool,
    },
    Create {
        name: usize,
        partitions: i32,
        replication_factor: i32,
        min_isr: i32,
    },
    Grow {
        name: usize,
        count: i32,
    },
    Delete {
        name: usize,
    },
    /// The leader proposes the replicas of the mask that are live; `stale` proposals are from an older state.
    AlterIsr {
        name: usize,
        index: i32,
        mask: u8,
        stale: bool,
    },
    /// Producers write to every partition that takes acks=all.
    Acknowledge,
    StartCoordinator,
    FenceCoordinator {
        nth: usize,
    },
    Reactivate,
}

fn actions() -> impl Strategy<Value = Action> {
    let broker = 1i32..6;
    let rarely = || prop::bool::weighted(0.1);
    let whole = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..4];
    prop_oneof![
        8 => (broker.clone(), any::<bool>(), rarely(), rarely(), rarely(), whole.clone()).prop_map(
            |(broker, clean, write_caching, new_directory, short, crash_after)| {
                Action::Start { broker, clean, write_caching, new_directory, short, crash_after }
            }
        ),
        6 => (broker.clone(), whole).prop_map(|(broker, crash_after)| Action::Fence { broker, crash_after }),
        2 => (broker, any::<bool>()).prop_map(|(broker, now)| Action::Leave { broker, now }),
        4 => (0usize..4, 1i32..4, 1i32..4, 1i32..4).prop_map(|(name, partitions, replication_factor, min_isr)| {
            Action::Create { name, partitions, replication_factor, min_isr }
        }),
        1 => (0usize..4, 1i32..6).prop_map(|(name, count)| Action::Grow { name, count }),
        1 => (0usize..4).prop_map(|name| Action::Delete { name }),
        12 => (0usize..4, 0i32..3, any::<u8>(), rarely())
            .prop_map(|(name, index, mask, stale)| Action::AlterIsr { name, index, mask, stale }),
        6 => Just(Action::Acknowledge),
        1 => Just(Action::StartCoordinator),
        1 => (0usize..3).prop_map(|nth| Action::FenceCoordinator { nth }),
        1 => Just(Action::Reactivate),
    ]
}

const NAMES: [&str; 4] = ["a", "b", "__consumer_offsets", "__transaction_state"];

/// Enough to catch each of the mutants that were tried, in about a second.
const CASES: u32 = 300;

/// Replicas that hold every record below the high watermark.
type Holders = BTreeMap<TopicPartition, BTreeSet<NodeId>>;

struct Run {
    cluster: Cluster,
    holders: Holders,
    directories: BTreeMap<i32, u128>,
    created: u128,
    producer_ids: BTreeSet<i64>,
}

impl Run {
    fn partitions(&self) -> Vec<(TopicPartition, Partition)> {
        let topics = self.cluster.image.topics();
        let partitions = topics.flat_map(|topic| {
            topic.indexed_partitions().map(|(partition, state)| {
                (
                    TopicPartition {
                        topic_id: topic.id,
                        partition,
                    },
                    (**state).clone(),
                )
            })
        });
        partitions.collect()
    }

    /// Runs a command, in whole or until the controller stops, and judges what became of the partitions.
    fn run<C: Command>(&mut self, command: &C, crash_after: usize) -> Option<C::Reply> {
        self.cluster.elections.clear();
        let reply = if crash_after == usize::MAX {
            Some(self.cluster.run(command))
        } else {
            self.cluster.run_and_stop(command, crash_after);
            None
        };
        for (key, before, after) in self.cluster.elections.drain(..) {
            let (Some(holders), Some(leader)) = (self.holders.get_mut(&key), after.leader) else {
                continue;
            };
            if election::is_unclean(&before, &after) {
                let trusted = !before.isr.is_empty() || !before.elr.is_empty();
                assert!(
                    !trusted,
                    "an unclean election while somebody is trusted: {before:?} {after:?}"
                );
                // The last known leader, for want of a better one: what it has is the truth from now on.
                *holders = BTreeSet::from([leader]);
            } else {
                assert!(
                    holders.contains(&leader),
                    "leader {leader} lacks acknowledged records: {before:?} {after:?}"
                );
            }
        }
        for (key, partition) in self.partitions() {
            self.holders
                .entry(key)
                .or_insert_with(|| partition.isr.iter().copied().collect());
        }
        reply
    }

    fn lose(&mut self, node: NodeId, lost: impl Fn(&TopicPartition) -> bool) {
        for (_, holders) in self.holders.iter_mut().filter(|(key, _)| lost(key)) {
            holders.remove(&node);
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm per action")]
    fn act(&mut self, action: Action) {
        match action {
            Action::Start {
                broker,
                clean,
                write_caching,
                new_directory,
                short,
                crash_after,
            } => {
                self.start(broker, clean, write_caching, new_directory, short, crash_after);
            }
            Action::Fence { broker, crash_after } => {
                if let Some(node) = self.cluster.image.node(NodeId(broker)) {
                    let command = FenceNode {
                        node: node.id,
                        epoch: node.epoch,
                    };
                    self.run(&command, crash_after);
                }
            }
            Action::Leave { broker, now } => {
                if let Some(node) = self.cluster.image.node(NodeId(broker)) {
                    let command = LeaveNode {
                        node: node.id,
                        epoch: node.epoch,
                        now,
                    };
                    self.run(&command, usize::MAX);
                }
            }
            Action::Create {
                name,
                partitions,
                replication_factor,
                min_isr,
            } => {
                self.created += 1;
                let creatable = CreatableTopic {
                    topic_id: TopicId(Uuid::from_u128(self.created << 32)),
                    configs: vec![("min.insync.replicas".into(), Some(min_isr.to_string()))],
                    ..topic(NAMES[name], partitions, replication_factor)
                };
                self.run(
                    &CreateTopics {
                        topics: vec![creatable],
                        validate_only: false,
                    },
                    usize::MAX,
                );
            }
            Action::Grow { name, count } => {
                let growth = TopicGrowth {
                    name: NAMES[name].into(),
                    count,
                    assignments: None,
                };
                self.run(
                    &CreatePartitions {
                        topics: vec![growth],
                        validate_only: false,
                    },
                    usize::MAX,
                );
            }
            Action::Delete { name } => {
                let target = TopicTarget {
                    name: Some(NAMES[name].into()),
                    ..TopicTarget::default()
                };
                self.run(&DeleteTopics { targets: vec![target] }, usize::MAX);
                self.holders
                    .retain(|key, _| self.cluster.image.topic_by_id(key.topic_id).is_some());
            }
            Action::AlterIsr {
                name,
                index,
                mask,
                stale,
            } => self.alter_isr(NAMES[name], index, mask, stale),
            Action::Acknowledge => self.acknowledge(),
            Action::StartCoordinator => {
                self.cluster.start_coordinator();
            }
            Action::FenceCoordinator { nth } => {
                let coordinator = self.cluster.image.live_coordinators().nth(nth).cloned();
                if let Some(node) = coordinator {
                    self.run(
                        &FenceNode {
                            node: node.id,
                            epoch: node.epoch,
                        },
                        usize::MAX,
                    );
                }
            }
            Action::Reactivate => {
                let snapshot = self.cluster.image.snapshot();
                self.cluster.image = MetadataImage::from_snapshot(&snapshot);
                self.cluster.settled = MetadataImage::default();
                self.cluster.settle();
            }
        }
    }

    fn start(&mut self, broker: i32, clean: bool, write_caching: bool, new: bool, short: bool, crash_after: usize) {
        let node = NodeId(broker);
        let directory = self.directories.entry(broker).or_insert(1_000_000 * broker as u128);
        *directory += 1_000_000 * u128::from(new);
        let directory = *directory;
        let command = self.cluster.register_command(broker, directory);
        if new {
            self.lose(node, |_| true);
        }
        // A client registers until it is registered.
        if self.run(&command, crash_after).is_none() {
            self.run(&command, usize::MAX);
        }
        let epoch = self.cluster.epoch(broker);
        if let (Some(block), true) = (
            self.run(&AllocateProducerIds { node, epoch }, usize::MAX)
                .and_then(Result::ok),
            clean,
        ) {
            assert!(
                self.producer_ids.insert(block.first.get()),
                "a producer id was handed out twice"
            );
        }
        let mut replicas = DistrustedReplicas::default();
        let own: Vec<TopicPartition> = self
            .partitions()
            .into_iter()
            .filter_map(|(key, partition)| partition.replicas.contains(&node).then_some(key))
            .collect();
        if short {
            let even = own.iter().filter(|key| key.partition.get() % 2 == 0);
            replicas.short = even.copied().collect();
        }
        if write_caching && !clean {
            // Not all topics cache: the others are trusted.
            let cached = own.iter().filter(|key| key.partition.get() != 1);
            replicas.untrusted = cached.copied().collect();
        }
        self.lose(node, |key| {
            replicas.short.contains(key) || replicas.untrusted.contains(key)
        });
        let unfence = UnfenceNode { node, epoch, replicas };
        if self.run(&unfence, crash_after).is_none() {
            self.run(&unfence, usize::MAX);
        }
        assert!(self.cluster.image.live_broker(node).is_some());
    }

    fn alter_isr(&mut self, name: &str, index: i32, mask: u8, stale: bool) {
        let Some(topic) = self.cluster.image.topic(name) else {
            return;
        };
        let key = TopicPartition {
            topic_id: topic.id,
            partition: PartitionIndex(index),
        };
        let Some(partition) = topic.partition(key.partition).cloned() else {
            return;
        };
        let Some(leader) = partition.leader else { return };
        let wanted = |(bit, node): (usize, &NodeId)| {
            (*node == leader || (mask >> bit) & 1 == 1)
                .then_some(*node)
                .filter(|node| self.cluster.image.live_broker(*node).is_some())
        };
        let isr: Vec<NodeId> = partition.replicas.iter().enumerate().filter_map(wanted).collect();
        let mut command = self.cluster.proposal(key, &isr);
        if stale {
            command.proposals[0].partition_epoch = PartitionEpoch(partition.epoch.get() - 1);
        }
        self.cluster.growing.insert(key);
        // A member that joins has all of the leader's log, so it holds what the leader holds.
        let joined = self.holders[&key].contains(&leader).then(|| isr.iter().copied());
        let result = self.run(&command, usize::MAX).unwrap().remove(0).result;
        self.cluster.growing.clear();
        assert_eq!(result.is_err(), stale, "{result:?}");
        if result.is_ok() {
            self.holders.get_mut(&key).unwrap().extend(joined.into_iter().flatten());
        }
    }

    fn acknowledge(&mut self) {
        for (key, partition) in self.partitions() {
            let topic = self.cluster.image.topic_by_id(key.topic_id).unwrap();
            let min_isr = self.cluster.settings.min_isr(&self.cluster.image, topic, &partition);
            if partition.leader.is_some() && partition.isr.len() >= min_isr {
                self.holders.insert(key, partition.isr.iter().copied().collect());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_breaks_an_invariant(actions in vec(actions(), 1..80)) {
        let mut run = Run {
            cluster: Cluster::with_brokers(3),
            holders: BTreeMap::new(),
            directories: (1..6).map(|id| (id, 1_000 + id as u128)).collect(),
            created: 0,
            producer_ids: BTreeSet::new(),
        };
        for action in actions {
            run.act(action);
        }
    }
}
