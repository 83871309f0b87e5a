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
    SetMinIsr {
        name: usize,
        min_isr: i32,
        crash_after: usize,
    },
    /// A planned move, as it was planned some time ago if it is stale.
    MoveLeader {
        name: usize,
        index: i32,
        target: i32,
        stale: bool,
    },
    /// What a broker's heartbeats say of its disk, and what follows if it stalls.
    Stall {
        broker: i32,
        stalled: bool,
    },
    /// A partition goes to the brokers of the mask, in this turn; none of them: back to where it was.
    Reassign {
        name: usize,
        index: i32,
        mask: u8,
        turn: usize,
        crash_after: usize,
    },
    /// Leaders that leave with a reassignment have handed over.
    HandOver {
        crash_after: usize,
    },
    ElectPreferred,
    /// What the planner makes of it, with some brokers draining.
    Plan {
        draining: u8,
    },
    Unregister {
        broker: i32,
        crash_after: usize,
    },
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
        6 => (broker.clone(), whole.clone()).prop_map(|(broker, crash_after)| Action::Fence { broker, crash_after }),
        2 => (broker.clone(), any::<bool>()).prop_map(|(broker, now)| Action::Leave { broker, now }),
        4 => (0usize..4, 1i32..4, 1i32..4, 1i32..4).prop_map(|(name, partitions, replication_factor, min_isr)| {
            Action::Create { name, partitions, replication_factor, min_isr }
        }),
        1 => (0usize..4, 1i32..6).prop_map(|(name, count)| Action::Grow { name, count }),
        1 => (0usize..4).prop_map(|name| Action::Delete { name }),
        12 => (0usize..4, 0i32..3, any::<u8>(), rarely())
            .prop_map(|(name, index, mask, stale)| Action::AlterIsr { name, index, mask, stale }),
        6 => Just(Action::Acknowledge),
        2 => (0usize..4, 1i32..4, whole.clone())
            .prop_map(|(name, min_isr, crash_after)| Action::SetMinIsr { name, min_isr, crash_after }),
        3 => (0usize..4, 0i32..3, broker.clone(), rarely())
            .prop_map(|(name, index, target, stale)| Action::MoveLeader { name, index, target, stale }),
        2 => (broker.clone(), any::<bool>()).prop_map(|(broker, stalled)| Action::Stall { broker, stalled }),
        6 => (0usize..4, 0i32..3, 0u8..32, 0usize..5, whole.clone())
            .prop_map(|(name, index, mask, turn, crash_after)| Action::Reassign { name, index, mask, turn, crash_after }),
        4 => whole.clone().prop_map(|crash_after| Action::HandOver { crash_after }),
        1 => Just(Action::ElectPreferred),
        2 => (0u8..32).prop_map(|draining| Action::Plan { draining }),
        1 => (broker.clone(), whole.clone()).prop_map(|(broker, crash_after)| Action::Unregister { broker, crash_after }),
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
            let holders = self
                .holders
                .entry(key)
                .or_insert_with(|| partition.isr.iter().copied().collect());
            // Who replicates no more deletes what it has.
            holders.retain(|node| partition.replicas.contains(node));
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
            Action::SetMinIsr {
                name,
                min_isr,
                crash_after,
            } => self.set_min_isr(NAMES[name], min_isr, crash_after),
            Action::MoveLeader {
                name,
                index,
                target,
                stale,
            } => self.move_leader(NAMES[name], index, NodeId(target), stale),
            Action::Stall { broker, stalled } => self.stall(NodeId(broker), stalled),
            Action::Reassign {
                name,
                index,
                mask,
                turn,
                crash_after,
            } => self.reassign(NAMES[name], index, mask, turn, crash_after),
            Action::HandOver { crash_after } => {
                let settled = MetadataImage::default();
                let moves = complete_reassignments::awaited(&settled, &self.cluster.image, &self.cluster.settings);
                let partitions = moves.iter().map(|wanted| wanted.key).collect();
                self.run(&CompleteReassignments { partitions }, crash_after);
            }
            Action::ElectPreferred => {
                let command = ElectLeaders {
                    election: ElectionType::Preferred,
                    partitions: None,
                    ends: BTreeMap::new(),
                };
                self.run(&command, usize::MAX);
            }
            Action::Plan { draining } => self.plan(draining),
            Action::Unregister { broker, crash_after } => {
                let command = UnregisterNode {
                    node: NodeId(broker),
                    epoch: None,
                };
                self.run(&command, crash_after);
            }
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
        let joins = |node: &NodeId| {
            let live = self.cluster.image.live_broker(*node);
            live.is_some_and(|live| partition.isr.contains(node) || !live.disk.stalled)
        };
        let wanted = |(bit, node): (usize, &NodeId)| {
            (*node == leader || (mask >> bit) & 1 == 1)
                .then_some(*node)
                .filter(joins)
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

    fn set_min_isr(&mut self, name: &str, min_isr: i32, crash_after: usize) {
        let alteration = Alteration {
            name: "min.insync.replicas".into(),
            value: Some(min_isr.to_string()),
            operation: AlterOperation::Set,
        };
        let resource = ResourceAlteration {
            resource_type: ResourceType::Topic,
            name: name.into(),
            alterations: vec![alteration],
            replace: false,
        };
        let command = AlterConfigs {
            resources: vec![resource],
            validate_only: false,
        };
        self.run(&command, crash_after);
    }

    fn move_leader(&mut self, name: &str, index: i32, target: NodeId, stale: bool) {
        let Some(topic) = self.cluster.image.topic(name) else {
            return;
        };
        let key = TopicPartition {
            topic_id: topic.id,
            partition: PartitionIndex(index),
        };
        let Some(before) = topic.partition(key.partition).cloned() else {
            return;
        };
        let leader_epoch = LeaderEpoch(before.leader_epoch.get() - i32::from(stale));
        let wanted = LeaderMove {
            key,
            leader_epoch,
            target,
        };
        let moved = self.run(&MoveLeaders { moves: vec![wanted] }, usize::MAX).unwrap();
        let allowed = !stale && before.leader.is_some() && before.isr.contains(&target);
        assert!(moved[0].is_err() || allowed, "{before:?} to {target}");
    }

    fn reassign(&mut self, name: &str, index: i32, mask: u8, turn: usize, crash_after: usize) {
        let mut target: Vec<NodeId> = (1..6).map(NodeId).collect();
        target.rotate_left(turn);
        target.retain(|node| (mask >> (node.get() - 1)) & 1 == 1);
        let asked = PartitionReassignment {
            topic: name.into(),
            partition: PartitionIndex(index),
            target: (!target.is_empty()).then_some(target),
        };
        let command = AlterPartitionReassignments {
            partitions: vec![asked],
            allow_replication_factor_change: true,
        };
        self.run(&command, crash_after);
    }

    fn plan(&mut self, draining: u8) {
        for id in 1..6 {
            let change = match (draining >> (id - 1)) & 1 {
                1 => DutyChange::Decommission { throttle: None },
                _ => DutyChange::Recommission,
            };
            let nodes = vec![NodeId(id)];
            self.run(&SetNodeDuty { nodes, change }, usize::MAX);
        }
        let options = planner::PlanOptions {
            balance: true,
            max_moves: usize::MAX,
            onto: Vec::new(),
        };
        let moves = planner::plan(&self.cluster.image, &planner::Load::new(), &options).moves;
        let wanted = moves.len();
        let begun = self.run(&MoveReplicas { moves }, usize::MAX);
        assert_eq!(begun, Some(wanted), "a plan of this very image");
    }

    fn stall(&mut self, node: NodeId, stalled: bool) {
        let Some(epoch) = self.cluster.image.node(node).map(|node| node.epoch) else {
            return;
        };
        let disk = NodeDisk {
            stalled,
            ..NodeDisk::default()
        };
        self.run(&ReportDisk { node, epoch, disk }, usize::MAX);
        let moves = move_leaders::successors(&self.cluster.image, &self.cluster.settings, node);
        if stalled {
            self.run(&MoveLeaders { moves }, usize::MAX);
            self.run(&RelieveNode { node }, usize::MAX);
        }
        if self.cluster.image.live_broker(node).is_none() || !stalled {
            return;
        }
        for (_, partition) in self.partitions().iter().filter(|(_, it)| it.leader == Some(node)) {
            let fit = |member: &NodeId| {
                self.cluster
                    .image
                    .live_broker(*member)
                    .is_some_and(|it| !it.disk.stalled)
            };
            assert!(!partition.isr.iter().any(fit), "another one could lead: {partition:?}");
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
