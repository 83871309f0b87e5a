//! The world: everything there is, and one thing after the other that happens in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_controller::cluster::election::is_unclean;
use highwater_controller::cluster::{CreatableTopic, CreateTopics, DeleteTopics, Step, TopicTarget};
use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::{CONSUMER_OFFSETS_TOPIC, NodeId, PartitionIndex, TopicId, TopicPartition};

use crate::broker::{Broker, broker_index};
use crate::controller::{Controller, Job, Store};
use crate::disk::Disk;
use crate::history::{History, PartitionHistory, Summary, Violation};
use crate::invariants;
use crate::isolation::Seesaw;
use crate::message::Message;
use crate::network::{Arrival, Network, Peer};
use crate::plan::{Action, Plan, TopicPlan};
use crate::random::Random;
use crate::shard::ShardWorld;
use crate::trace::Trace;

/// `replica.lag.time.max.ms` of all brokers.
pub const REPLICA_LAG_TIME_MAX: Duration = Duration::from_secs(1);

/// A topic's name, and the identity it has had last.
#[derive(Debug)]
struct NamedTopic {
    name: String,
    plan: TopicPlan,
    id: TopicId,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub(crate) random: Random,
    pub(crate) plan: Plan,
    pub(crate) now: Duration,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    /// One in so many transactions ends badly.
    pub(crate) trouble: usize,
    /// Calls of a shard's owner get lost and doubled.
    pub(crate) lossy: bool,
    pub(crate) uuids: u128,
    pub(crate) contents: u64,
    pub(crate) shard: Option<ShardWorld>,
    /// The bytes of a shard's batches, by content.
    pub(crate) payloads: HashMap<u64, highwater_proto::record::Batch>,
    pub(crate) seesaw: Option<Seesaw>,
    topics: Vec<NamedTopic>,
}

impl World {
    /// A cluster in which all is well.
    #[must_use]
    pub fn new(plan: Plan, trace: Trace) -> Self {
        let mut world = Self {
            random: Random::new(plan.seed ^ 0x5EED),
            now: Duration::from_secs(1),
            brokers: Vec::new(),
            controllers: (0..plan.controllers).map(|_| Controller::default()).collect(),
            store: Store::default(),
            network: Network::default(),
            history: History::default(),
            trace,
            trouble: 0,
            lossy: false,
            uuids: 0,
            contents: 0,
            shard: None,
            payloads: HashMap::new(),
            seesaw: None,
            topics: Vec::new(),
            plan,
        };
        for _ in 0..world.plan.brokers {
            let directory = world.next_uuid();
            world.brokers.push(Broker {
                disk: Disk::empty(directory),
                process: None,
                paused: false,
            });
        }
        (0..world.plan.brokers).for_each(|broker| {
            world.start(broker);
        });
        world.elect();
        world.calm(20);
        for index in 0..world.plan.topics.len() {
            let plan = world.plan.topics[index];
            let name = format!("t{index}");
            world.topics.push(NamedTopic {
                name,
                plan,
                id: TopicId::ZERO,
            });
            world.create_topic(index);
        }
        world.begin_shard();
        world.calm(20);
        world.trouble = world.plan.store_trouble;
        world.lossy = true;
        world.network.slow = world.plan.slow_connections;
        world
    }

    fn begin_shard(&mut self) {
        let Some(plan) = self.plan.offsets else { return };
        self.topics.push(NamedTopic {
            name: CONSUMER_OFFSETS_TOPIC.to_owned(),
            plan,
            id: TopicId::ZERO,
        });
        self.create_topic(self.topics.len() - 1);
        self.shard = Some(ShardWorld::new([self.next_uuid(), self.next_uuid()]));
    }

    /// One thing happens.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn step(&mut self, number: usize) -> Result<(), Violation> {
        self.trace.at(number);
        self.history.summary.steps += 1;
        // Of what must happen, something that can happen now.
        for _ in 0..8 {
            let action = self.plan.next(&mut self.random);
            if self.act(action) {
                break;
            }
        }
        self.check_isr();
        self.end_of_shard();
        self.history.violation.take().map_or(Ok(()), Err)
    }

    /// Nothing is promised of a shard whose partition lost more than its settings can stand.
    pub(crate) fn end_of_shard(&mut self) {
        let Some(key) = self.shard_key() else { return };
        let lost = self.history.partitions.get(&key).is_some_and(|past| !past.guaranteed);
        if lost && let Some(shards) = self.shard.take() {
            self.history.summary.offsets += shards.client.done.0 + shards.client.done.1;
        }
    }

    /// False if it cannot happen now.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Deliver => return self.deliver(),
            Action::Image => return self.image_arrives(),
            Action::Flush => return self.flush_some(),
            Action::Fetch => return self.fetch_some(),
            Action::Produce => return self.produce(),
            Action::Consume => return self.consume(),
            Action::LookForLag => self.look_for_lag(),
            Action::Propose => return self.propose_some(),
            Action::Decide => return self.decide_some(),
            Action::Session => return self.session_some(),
            Action::Time => {
                let ms = 1 + self.random.below(150) as u64;
                self.pass(Duration::from_millis(ms));
            }
            Action::Silence => self.silence(),
            Action::Kill => self.kill(),
            Action::PowerLoss => self.power_loss(),
            Action::Blackout => self.blackout(),
            Action::Start => return self.start_some(),
            Action::ReplaceDisk => self.replace_disk(),
            Action::Pause => self.pause(),
            Action::Resume => return self.resume(),
            Action::Stop => self.stop(),
            Action::Cut => self.cut(),
            Action::Heal => return self.heal_one(),
            Action::Break => self.break_connection(),
            Action::Elect => self.elect(),
            Action::NoticeLoss => return self.notice_loss(),
            Action::Recreate => self.recreate(),
            Action::Reassign => return self.reassign(),
            Action::CompleteReassignments => return self.complete_reassignments(),
            Action::Isolate => self.isolate_some(),
            Action::Seesaw => return self.seesaw(),
            Action::SplitBrain => return self.split_brain(),
            Action::MoveLeader => return self.move_leader(),
            Action::Shard => return self.shard_step(),
            Action::MoveShard => self.move_shard(),
            Action::CrashCoordinator => self.crash_coordinator(),
            Action::LateTransaction => return self.late_transaction(),
        }
        true
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.heartbeats();
    }

    /// So much time that who is not heard is fenced.
    pub(crate) fn silence(&mut self) {
        (0..55).for_each(|_| self.pass(Duration::from_millis(100)));
    }

    /// Some message arrives; false if there is none.
    pub(crate) fn deliver(&mut self) -> bool {
        let brokers = &self.brokers;
        let listens = |peer: Peer| match peer {
            Peer::Broker(index) => brokers[index].process.is_some() && !brokers[index].paused,
            Peer::Controller(_) => true,
        };
        let Some(arrival) = self.network.take(&mut self.random, listens) else {
            return false;
        };
        let Arrival {
            connection,
            from,
            to,
            message,
        } = arrival;
        match (to, message) {
            (Peer::Broker(broker), Message::Closed) => {
                self.session_closed(broker, connection);
                self.fetcher_closed(broker, connection);
            }
            (Peer::Controller(controller), Message::Closed) => self.stream_closed(controller, connection),
            (Peer::Broker(broker), Message::Fetch(request)) => self.answer_fetch(broker, connection, request),
            (Peer::Broker(broker), Message::Fetched(answer)) => self.fetched(broker, connection, answer),
            (Peer::Broker(broker), Message::Told(told)) => self.told(broker, connection, told),
            (Peer::Broker(broker), Message::Altered(answers)) => {
                for altered in answers {
                    self.altered(broker, altered);
                }
            }
            (Peer::Controller(controller), Message::Said(said)) => {
                if self.controllers[controller].active.is_some() {
                    self.said(controller, connection, said);
                } else {
                    self.network.close(connection, to);
                }
            }
            (Peer::Controller(controller), Message::Alter(request)) => {
                self.alter_asked(controller, connection, request);
            }
            (_, _) => self.network.close(connection, from),
        }
        true
    }

    fn create_topic(&mut self, index: usize) {
        let id = TopicId(self.next_uuid());
        let topic = &mut self.topics[index];
        topic.id = id;
        let configs = [
            ("min.insync.replicas", topic.plan.min_isr.to_string()),
            ("write.caching", topic.plan.write_caching.to_string()),
            ("unclean.leader.election.enable", topic.plan.unclean.to_string()),
        ];
        let creatable = CreatableTopic {
            name: topic.name.clone(),
            partitions: topic.plan.partitions,
            replication_factor: topic.plan.replicas,
            configs: configs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Some(value)))
                .collect(),
            topic_id: id,
            ..CreatableTopic::default()
        };
        let command = CreateTopics {
            topics: vec![creatable],
            validate_only: false,
        };
        self.ask(Job::Create(command));
    }

    fn recreate(&mut self) {
        let index = self.random.below(self.plan.topics.len());
        let name = self.topics[index].name.clone();
        if self.store.image().topic(&name).is_none() {
            return self.create_topic(index);
        }
        let target = TopicTarget {
            name: Some(name),
            topic_id: TopicId::ZERO,
        };
        self.ask(Job::Delete(DeleteTopics { targets: vec![target] }));
    }

    /// An administrator's command.
    pub(crate) fn ask(&mut self, job: Job) {
        if let Some(controller) = self.believed_controller()
            && let Some(active) = &mut self.controllers[controller].active
        {
            active.push(job);
        }
    }

    /// What a commit means for what is promised.
    pub(crate) fn decided(&mut self, before: &Arc<MetadataImage>, step: &Step) {
        let after = self.store.image();
        for change in step {
            match change {
                Change::PutTopic { topic_id, name, .. } => self.topic_is_there(*topic_id, name, &after),
                Change::DeleteTopic { topic_id, .. } => {
                    self.history.partitions.retain(|key, _| key.topic_id != *topic_id);
                }
                Change::PutPartition(topic_id, partition, _) => {
                    let key = TopicPartition {
                        topic_id: *topic_id,
                        partition: *partition,
                    };
                    let (Some(old), Some(new)) = (
                        before.partition(*topic_id, *partition),
                        after.partition(*topic_id, *partition),
                    ) else {
                        continue;
                    };
                    self.history.summary.reassigned += usize::from(old.replicas != new.replicas);
                    let past = self.history.partitions.get(&key);
                    let allowed = past.is_some_and(|past| past.plan.unclean)
                        // The last known leader, when nobody is trusted any more.
                        || old.isr.is_empty() && old.elr.is_empty();
                    if old.leader_epoch < new.leader_epoch && is_unclean(old, new) && allowed {
                        self.give_up(key);
                    }
                    let cached = self
                        .history
                        .partitions
                        .get(&key)
                        .is_some_and(|it| it.plan.write_caching);
                    let lost = |node: &NodeId| !self.is_expected_to_hold(broker_index(*node), cached);
                    let nobody = new.isr.is_empty() && new.elr.is_empty();
                    if nobody && old.isr.iter().chain(&old.elr).all(lost) {
                        self.give_up(key);
                    }
                }
                _ => {}
            }
        }
    }

    fn topic_is_there(&mut self, id: TopicId, name: &str, image: &MetadataImage) {
        let Some(plan) = self.topics.iter().find(|topic| topic.name == name).map(|it| it.plan) else {
            return;
        };
        let count = image.topic_by_id(id).map_or(0, |topic| topic.partitions.len());
        for index in 0..count {
            let key = TopicPartition {
                topic_id: id,
                partition: PartitionIndex(index as i32),
            };
            self.history
                .partitions
                .entry(key)
                .or_insert_with(|| PartitionHistory::new(format!("{name}-{index}"), plan));
        }
    }

    /// Everything that is committed is on the disks of ISR and ELR.
    pub(crate) fn check_isr(&mut self) {
        use invariants::isr_members_hold_what_is_committed::{NAME, check};
        let image = self.store.image();
        let mut broken = None;
        for (key, past) in &self.history.partitions {
            let Some(partition) = image.partition(key.topic_id, key.partition) else {
                continue;
            };
            for member in partition.isr.iter().chain(&partition.elr) {
                let broker = broker_index(*member);
                if past.guaranteed && self.is_expected_to_hold(broker, past.plan.write_caching) {
                    let files = self.brokers[broker].disk.logs.get(key);
                    broken = broken.or(check(past, files, broker).err());
                }
            }
        }
        if let Some(seen) = broken {
            self.history.check(NAME, Err(seen));
        }
    }
}

impl World {
    /// What was done.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = self.history.summary;
        if let Some(shards) = &self.shard {
            summary.offsets += shards.client.done.0 + shards.client.done.1;
        }
        summary
    }

    /// What happened, if it was kept.
    #[must_use]
    pub fn into_trace(self) -> Vec<String> {
        self.trace.into_lines()
    }
}
