//! A cluster without processes: commands are decided, their steps applied one by one, and every step is checked.

mod configs;
mod nodes;
mod partitions;
mod random;
mod reassignments;
mod rebalance;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::config::{AlterOperation, Alteration, StaticValues};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{
    Change, MetadataImage, MetadataUpdate, NodeDisk, NodeDuty, NodeRegistration, NodeRole, NodeState, Partition,
};
use highwater_proto::types::*;
use uuid::Uuid;

use crate::cluster::*;

struct Cluster {
    image: MetadataImage,
    settled: MetadataImage,
    settings: Settings,
    incarnations: u128,
    /// Who led in which epoch, and in which incarnation.
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), Option<(NodeId, BrokerEpoch)>>,
    /// Partitions whose ISR the command at work may grow.
    growing: BTreeSet<TopicPartition>,
    /// Every election: before and after.
    elections: Vec<(TopicPartition, Partition, Partition)>,
    /// What brokers say when they are asked where their logs end; nothing: the log is empty.
    log_ends: BTreeMap<(NodeId, TopicPartition), (LeaderEpoch, Offset)>,
}

impl Cluster {
    fn new() -> Self {
        let settings = Settings::new(StaticValues::default()).unwrap();
        let mut cluster = Self {
            image: MetadataImage::default(),
            settled: MetadataImage::default(),
            settings,
            incarnations: 0,
            leaders: BTreeMap::new(),
            growing: BTreeSet::new(),
            elections: Vec::new(),
            log_ends: BTreeMap::new(),
        };
        cluster.run(&Bootstrap {
            cluster_id: "cluster".into(),
        });
        cluster
    }

    /// With live brokers 1..=n.
    fn with_brokers(n: i32) -> Self {
        let mut cluster = Self::new();
        (1..=n).for_each(|id| cluster.start(id));
        cluster
    }

    fn run<C: Command>(&mut self, command: &C) -> C::Reply {
        let decision = decide(&self.image, command, &self.settings);
        decision.steps.into_iter().for_each(|step| self.commit(step));
        self.settle();
        decision.reply
    }

    /// As [`Self::run`], but the controller stops after `steps` steps and another one takes over.
    fn run_and_stop<C: Command>(&mut self, command: &C, steps: usize) {
        let decision = decide(&self.image, command, &self.settings);
        decision
            .steps
            .into_iter()
            .take(steps)
            .for_each(|step| self.commit(step));
        self.settled = MetadataImage::default();
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let steps = reconcile(&self.settled, &self.image, &self.settings);
            if steps.is_empty() {
                if self.elect_unclean() {
                    continue;
                }
                self.settled = self.image.clone();
                self.check_settled();
                return;
            }
            steps.into_iter().for_each(|step| self.commit(step));
        }
        panic!("reconcile finds no end");
    }

    /// What all live brokers say of all their logs.
    fn all_log_ends(&self) -> BTreeMap<TopicPartition, election::LogEnds> {
        let mut ends: BTreeMap<TopicPartition, election::LogEnds> = BTreeMap::new();
        for topic in self.image.topics() {
            for (partition, state) in topic.indexed_partitions() {
                let key = TopicPartition {
                    topic_id: topic.id,
                    partition,
                };
                let live = state
                    .replicas
                    .iter()
                    .filter(|node| self.image.live_broker(**node).is_some());
                for node in live {
                    let end = self.log_ends.get(&(*node, key)).copied();
                    let end = end.unwrap_or((LeaderEpoch(-1), Offset(0)));
                    ends.entry(key).or_default().insert(*node, end);
                }
            }
        }
        ends
    }

    /// As the process does it: asks whoever has to be asked, and has the longest log elected.
    fn elect_unclean(&mut self) -> bool {
        let wanted = elect_unclean::wanted(&self.settled, &self.image, &self.settings);
        let mut ends = self.all_log_ends();
        ends.retain(|key, _| wanted.contains(key));
        let decision = decide(&self.image, &ElectUnclean { ends }, &self.settings);
        let elected = !decision.steps.is_empty();
        decision.steps.into_iter().for_each(|step| self.commit(step));
        elected
    }

    fn commit(&mut self, step: Step) {
        assert!(
            !step.is_empty() && step.len() <= MAX_PUTS_PER_STEP,
            "{} changes in a step",
            step.len()
        );
        let revision = Revision(self.image.revision.get() + 1);
        let next = self.image.apply(&MetadataUpdate {
            revision,
            changes: step.clone(),
        });
        for change in &step {
            self.check_change(&next, change);
        }
        self.image = next;
    }

    /// What holds at every step, whoever stops after it.
    fn check_change(&mut self, next: &MetadataImage, change: &Change) {
        match change {
            Change::PutPartition(topic_id, index, after) => {
                let key = TopicPartition {
                    topic_id: *topic_id,
                    partition: *index,
                };
                if self.image.topic_by_id(*topic_id).is_none() {
                    // Not visible yet, or no longer: it begins anew.
                    self.leaders.retain(|(of, _), _| *of != key);
                }
                let before = self.image.partition(*topic_id, *index).cloned();
                self.check_partition(next, key, before.as_deref(), after);
            }
            Change::PutNodeRegistration(id, _) => {
                // Whatever stops now: nothing of the old incarnation is left.
                let topics = self.image.topics();
                let mut partitions = topics.flat_map(|topic| &topic.partitions);
                let held = |p: &Partition| p.leader == Some(*id) || (p.isr.len() > 1 && p.isr.contains(id));
                assert!(
                    !partitions.any(|partition| held(partition)),
                    "the old incarnation is not fenced completely"
                );
            }
            Change::PutShard(id, after) => {
                if let Some(before) = self.image.shards.get(id) {
                    assert!(after.epoch >= before.epoch, "shard epoch falls");
                    assert!(after.owner.is_none() || after.epoch > before.epoch, "+1 per assignment");
                }
            }
            Change::PutProducerIds(next) => assert!(*next > self.image.next_producer_id),
            _ => {}
        }
    }

    fn check_partition(
        &mut self,
        next: &MetadataImage,
        key: TopicPartition,
        before: Option<&Partition>,
        after: &Partition,
    ) {
        let members = after
            .isr
            .iter()
            .chain(&after.elr)
            .chain(&after.offline_replicas)
            .chain(&after.leader);
        assert!(
            members.into_iter().all(|node| after.replicas.contains(node)),
            "not a replica: {after:?}"
        );
        assert!(
            after.leader.is_none_or(|leader| after.isr.contains(&leader)),
            "leader not in the ISR: {after:?}"
        );
        assert!(
            after.elr.iter().all(|node| !after.isr.contains(node)),
            "both in ISR and ELR: {after:?}"
        );
        let leader = after.leader.map(|leader| (leader, next.node(leader).unwrap().epoch));
        let recorded = *self.leaders.entry((key, after.leader_epoch)).or_insert(leader);
        assert_eq!(
            recorded, leader,
            "one leader (and incarnation) per epoch: {key:?} {after:?}"
        );
        let Some(before) = before else { return };
        assert!(after.leader_epoch >= before.leader_epoch, "leader epoch falls");
        check_replicas(before, after);
        if after.leader_epoch > before.leader_epoch && after.leader.is_some() {
            self.elections.push((key, before.clone(), after.clone()));
        }
        let grown = after.isr.iter().any(|node| !before.isr.contains(node));
        let elected = after.leader_epoch > before.leader_epoch && after.isr.len() == 1;
        assert!(
            !grown || elected || self.growing.contains(&key),
            "only leaders grow the ISR: {before:?} {after:?}"
        );
    }

    /// What holds when nothing is left to do.
    fn check_settled(&self) {
        assert_eq!(self.image.orphan_partitions().count(), 0, "deleted topics are swept");
        for topic in self.image.topics() {
            let visible = i32::try_from(topic.partitions.len()).ok();
            assert_eq!(
                self.image.declared_partition_count(topic.id),
                visible,
                "no partition is lost"
            );
            for partition in &topic.partitions {
                let dead = |node: &NodeId| self.image.live_broker(*node).is_none();
                assert!(
                    partition.leader.is_none_or(|leader| !dead(&leader)),
                    "a fenced node leads: {partition:?}"
                );
                assert!(
                    partition.isr.len() <= 1 || !partition.isr.iter().any(dead),
                    "a fenced node is in the ISR, not as last member: {partition:?}"
                );
                let offline = &partition.offline_replicas;
                let mut seats = partition.isr.iter().chain(&partition.elr);
                assert!(
                    partition.leader.is_some() || !seats.any(|node| !dead(node) && !offline.contains(node)),
                    "a live replica may lead: {partition:?}"
                );
            }
            for (id, assignment) in &self.image.shards {
                let owned = assignment
                    .owner
                    .is_some_and(|owner| self.image.node(owner).unwrap().is_live());
                assert!(
                    owned || self.image.live_coordinators().next().is_none(),
                    "{id:?} has no live owner"
                );
            }
        }
        assert!(self.image.nodes.values().all(|node| node.state != NodeState::Fencing));
    }

    fn registration(&mut self, role: NodeRole, directory: u128) -> NodeRegistration {
        self.incarnations += 1;
        NodeRegistration {
            role,
            incarnation: Uuid::from_u128(self.incarnations),
            directory_id: Uuid::from_u128(directory),
            endpoints: Vec::new(),
            rack: None,
            api_ranges: Vec::new(),
            pod_uid: None,
        }
    }

    fn register_command(&mut self, id: i32, directory: u128) -> RegisterNode {
        RegisterNode {
            node_id: Some(NodeId(id)),
            cluster_id: "cluster".into(),
            registration: self.registration(NodeRole::Broker, directory),
        }
    }

    /// A broker starts, with the data directory it always had.
    fn register(&mut self, id: i32) {
        let command = self.register_command(id, 1_000 + id as u128);
        self.run(&command).unwrap();
    }

    fn start(&mut self, id: i32) {
        self.register(id);
        self.unfence(id, DistrustedReplicas::default());
    }

    fn unfence(&mut self, id: i32, replicas: DistrustedReplicas) {
        let epoch = self.epoch(id);
        self.run(&UnfenceNode {
            node: NodeId(id),
            epoch,
            replicas,
        })
        .unwrap();
    }

    fn fence(&mut self, id: i32) {
        let epoch = self.epoch(id);
        assert!(self.run(&FenceNode {
            node: NodeId(id),
            epoch
        }));
    }

    fn start_coordinator(&mut self) -> NodeId {
        let registration = self.registration(NodeRole::Coordinator, 0);
        let command = RegisterNode {
            node_id: None,
            cluster_id: String::new(),
            registration,
        };
        let node = self.run(&command).unwrap().node;
        self.unfence(node.get(), DistrustedReplicas::default());
        node
    }

    fn epoch(&self, id: i32) -> BrokerEpoch {
        self.image.node(NodeId(id)).unwrap().epoch
    }

    fn create(&mut self, topic: CreatableTopic) -> Result<TopicShape, Refusal> {
        self.run(&CreateTopics {
            topics: vec![topic],
            validate_only: false,
        })
        .remove(0)
        .result
    }

    fn partition(&self, name: &str, index: i32) -> &Partition {
        self.image
            .topic(name)
            .unwrap()
            .partition(PartitionIndex(index))
            .unwrap()
    }

    fn key(&self, name: &str, index: i32) -> TopicPartition {
        TopicPartition {
            topic_id: self.image.topic(name).unwrap().id,
            partition: PartitionIndex(index),
        }
    }

    /// What the leader would propose: the state it knows, with this ISR.
    fn proposal(&self, key: TopicPartition, isr: &[NodeId]) -> AlterPartitions {
        let partition = self.image.partition(key.topic_id, key.partition).unwrap();
        let broker = partition.leader.unwrap();
        let member = |node: &NodeId| IsrMember {
            broker: *node,
            epoch: self.epoch(node.get()),
        };
        let proposal = IsrProposal {
            key,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.epoch,
            isr: isr.iter().map(member).collect(),
        };
        AlterPartitions {
            broker,
            broker_epoch: self.epoch(broker.get()),
            proposals: vec![proposal],
        }
    }

    fn alter(&mut self, command: &AlterPartitions) -> Result<(), Refusal> {
        self.growing
            .extend(command.proposals.iter().map(|proposal| proposal.key));
        let result = self.run(command).remove(0).result;
        self.growing.clear();
        result
    }
}

/// Who replicates changes only by a reassignment: what leaves was not in use yet, or the targets are all in sync.
fn check_replicas(before: &Partition, after: &Partition) {
    if after.replicas == before.replicas {
        return;
    }
    let gone: Vec<_> = before
        .replicas
        .iter()
        .filter(|node| !after.replicas.contains(node))
        .collect();
    let done = !after.is_reassigning() && after.replicas.iter().all(|node| before.isr.contains(node));
    let unused = gone.iter().all(|node| before.adding.contains(node));
    assert!(done || unused, "a replica is lost: {before:?} {after:?}");
    assert!(
        !after.isr.is_empty() || before.isr.is_empty(),
        "the ISR is lost: {before:?} {after:?}"
    );
    let lists = after.adding.iter().chain(&after.removing);
    assert!(
        lists.into_iter().all(|node| after.replicas.contains(node)),
        "not a replica: {after:?}"
    );
}

fn topic(name: &str, partitions: i32, replication_factor: i32) -> CreatableTopic {
    let id = name
        .bytes()
        .fold(7u128, |hash, byte| hash.wrapping_mul(1_000_003) + u128::from(byte));
    let topic_id = TopicId(Uuid::from_u128(id));
    CreatableTopic {
        name: name.into(),
        partitions,
        replication_factor,
        topic_id,
        ..CreatableTopic::default()
    }
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: ErrorCode, part_of_message: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal:?}");
    assert!(refusal.message.contains(part_of_message), "{refusal:?}");
}
