//! A coordinator shard on a partition of the simulated brokers: two owners that production's controller moves it
//! between, calls that are late, lost or doubled, and clients that come through any door.

mod client;
mod leader;

use std::sync::Arc;

use highwater_coordinator::group::{Now, Token};
use highwater_coordinator::shard::{Action, Assignment, Chunk, Failure, Opened, Outcome, Shard, ShardConfig};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{MetadataImage, NodeRegistration, NodeRole};
use highwater_proto::types::{
    CONSUMER_OFFSETS_TOPIC, CoordinatorEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ShardId, ShardKind,
    TimestampMs, TopicPartition,
};

pub use client::ShardClient;

use crate::controller::Job;
use crate::world::World;
use highwater_controller::cluster::{FenceNode, RegisterNode, UnfenceNode};

/// Coordinators' ids are far from brokers'.
const FIRST_COORDINATOR: i32 = 1_000_000;

/// The one shard there is.
pub const SHARD: ShardId = ShardId {
    kind: ShardKind::Group,
    index: PartitionIndex(0),
};

/// A coordinator's process.
#[derive(Debug)]
pub struct Coordinator {
    /// Production's.
    pub shard: Shard,
    image: Arc<MetadataImage>,
    incarnation: uuid::Uuid,
}

impl Coordinator {
    fn new(incarnation: uuid::Uuid) -> Self {
        Self {
            shard: Shard::new(Arc::new(ShardConfig::default())),
            image: Arc::default(),
            incarnation,
        }
    }
}

/// What an owner has asked of a leader.
#[derive(Clone, Debug)]
pub struct Call {
    /// The owner.
    pub owner: usize,
    /// Which process of it.
    pub incarnation: uuid::Uuid,
    /// The broker that it took for the leader.
    pub to: NodeId,
    /// The call.
    pub action: Action,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of an opening.
    Opened(Result<Opened, Failure>),
    /// Of a wait.
    HighWatermark(Result<Offset, Failure>),
    /// Of a read.
    Read(Result<Chunk, Failure>),
    /// Of an append.
    Appended(Result<Offset, Failure>),
    /// Of a confirmation.
    Confirmed(Result<(), Failure>),
}

/// A call that waits for what the leader's followers say of it.
#[derive(Clone, Debug)]
pub struct Asking {
    call: Call,
    /// What its owner is told when none of them knows a later leader.
    answer: Answer,
    leader_epoch: LeaderEpoch,
    witnesses: Vec<NodeId>,
}

/// All that belongs to the shard.
#[derive(Debug)]
pub struct ShardWorld {
    /// Two of them.
    pub coordinators: Vec<Coordinator>,
    /// On their way to a leader.
    pub calls: Vec<Call>,
    /// Given up by their owners, and on their way all the same.
    pub late: Vec<Call>,
    /// On their way back: to whom, of which attempt.
    pub answers: Vec<(Call, Answer)>,
    /// Calls whose followers are being asked.
    pub asking: Vec<Asking>,
    /// Calls that wait for a high watermark, by number.
    pub waiting: Vec<(u64, Call)>,
    /// The owner that all doors take for the one, if they agree.
    pub door: Option<usize>,
    /// An owner that hears nothing of the cluster.
    pub deaf: Option<usize>,
    /// A broker that is cut off together with the deaf owner.
    pub cut_off: Option<usize>,
    /// The client.
    pub client: ShardClient,
    waits: u64,
}

impl ShardWorld {
    pub(crate) fn new(incarnations: [uuid::Uuid; 2]) -> Self {
        Self {
            coordinators: incarnations.into_iter().map(Coordinator::new).collect(),
            calls: Vec::new(),
            late: Vec::new(),
            answers: Vec::new(),
            asking: Vec::new(),
            waiting: Vec::new(),
            door: None,
            deaf: None,
            cut_off: None,
            client: ShardClient::default(),
            waits: 0,
        }
    }
}

fn coordinator_id(index: usize) -> NodeId {
    NodeId(FIRST_COORDINATOR + index as i32)
}

/// The coordinator with an id.
pub(crate) fn coordinator_index(id: NodeId) -> usize {
    (id.get() - FIRST_COORDINATOR).max(0) as usize
}

impl World {
    pub(crate) fn shard_now(&self) -> Now {
        Now {
            wall: TimestampMs(1_000),
            monotonic: self.now,
        }
    }

    pub(crate) fn shard_key(&self) -> Option<TopicPartition> {
        let image = self.store.image();
        let topic = image.topic(CONSUMER_OFFSETS_TOPIC)?;
        Some(TopicPartition {
            topic_id: topic.id,
            partition: SHARD.index,
        })
    }

    /// Something happens at the shard; false if nothing can.
    pub(crate) fn shard_step(&mut self) -> bool {
        if self.random.one_in(50) {
            self.go_deaf();
        }
        if self.random.one_in(20) {
            let index = self.random.below(2);
            self.start_coordinator(index);
        }
        if let Some(key) = self.shard_key()
            && self.plan.about_shard
            && self.random.one_in(3)
        {
            self.move_on(key);
        }
        // Of what an owner waits for, something that is there: else it is lost before it has served anybody.
        (0..12).any(|_| self.one_shard_step())
    }

    fn one_shard_step(&mut self) -> bool {
        if self.shard.is_none() {
            return false;
        }
        let did = match self.random.below(40) {
            0..=4 => self.tell_owner(),
            5..=7 => self.shard_time(),
            8..=10 => self.send_commit(),
            11..=13 => self.send_read(),
            14..=23 => self.deliver_call(),
            24..=27 => self.ask_witness(),
            _ => self.deliver_shard_answer(),
        };
        self.carry_out_shard();
        did
    }

    /// Moves the shard as the loss of a coordinator does: it is fenced, and comes back.
    pub(crate) fn move_shard(&mut self) {
        let (any, unheard) = (self.random.below(2), self.random.one_in(2) && self.lossy);
        let Some(shards) = &mut self.shard else { return };
        let image = self.store.image();
        let owner = image.shards.get(&SHARD).and_then(|it| it.owner);
        let index = (0..2)
            .find(|index| owner == Some(coordinator_id(*index)))
            .unwrap_or(any);
        let live = |index: usize| image.node(coordinator_id(index)).filter(|node| node.is_live());
        match (live(index), live(1 - index)) {
            (Some(known), Some(_)) => {
                // It does not hear of it, and clients come to the next owner, for a while.
                if unheard {
                    shards.deaf = Some(index);
                    shards.door = Some(1 - index);
                }
                let (node, epoch) = (known.id, known.epoch);
                self.ask(Job::Fence(FenceNode { node, epoch }));
            }
            (None, _) => self.start_coordinator(index),
            (_, None) => self.start_coordinator(1 - index),
        }
    }

    /// kill -9 of a coordinator, and the next start. What it knew is gone, and so is all that waited for it; what it had
    /// sent is still on its way.
    pub(crate) fn crash_coordinator(&mut self) {
        let (index, incarnation) = (self.random.below(2), self.next_uuid());
        let Some(shards) = &mut self.shard else { return };
        shards.coordinators[index] = Coordinator::new(incarnation);
        shards.client.lost(index);
        self.trace.say(|| format!("coordinator {index} is KILLED and starts"));
        self.start_coordinator(index);
    }

    /// Registers a coordinator and has it unfenced.
    pub(crate) fn start_coordinator(&mut self, index: usize) {
        let Some(shards) = &self.shard else { return };
        let node = coordinator_id(index);
        let image = self.store.image();
        let incarnation = shards.coordinators[index].incarnation;
        let known = image.node(node);
        match known.filter(|known| known.registration.incarnation == incarnation) {
            Some(known) if known.is_live() => {}
            Some(known) => {
                let (epoch, replicas) = (known.epoch, Default::default());
                self.ask(Job::UnfenceCoordinator(UnfenceNode { node, epoch, replicas }));
            }
            None => {
                let registration = NodeRegistration {
                    role: NodeRole::Coordinator,
                    incarnation,
                    directory_id: uuid::Uuid::nil(),
                    endpoints: Vec::new(),
                    rack: None,
                    api_ranges: Vec::new(),
                    pod_uid: None,
                };
                let command = RegisterNode {
                    node_id: Some(node),
                    cluster_id: String::new(),
                    registration,
                };
                self.ask(Job::RegisterCoordinator(command));
            }
        }
    }

    /// An owner hears nothing of the cluster for a while, and answers all the same; the client goes through another
    /// door, or reads only.
    fn go_deaf(&mut self) {
        let (deaf, door) = (self.random.below(3), self.random.below(4));
        let (lossy, change) = (self.lossy, self.random.below(4));
        let cut_off = self.shard.as_ref().and_then(|shards| shards.cut_off);
        let stays_deaf = cut_off.is_some_and(|broker| !self.hears(broker));
        if let Some(shards) = &mut self.shard {
            match change {
                0 if stays_deaf => {}
                0 => shards.deaf = Some(deaf).filter(|deaf| *deaf < 2 && lossy),
                1 => shards.client.quiet = deaf > 0 && lossy,
                _ => shards.door = Some(door).filter(|door| *door < 2),
            }
        }
    }

    /// A coordinator's image gets closer to the present.
    pub(crate) fn tell_owner(&mut self) -> bool {
        let owner = self.random.below(2);
        if self.shard.as_ref().is_some_and(|shards| shards.deaf == Some(owner)) {
            return false;
        }
        let newest = self.store.revision().get();
        let now = self.shard_now();
        let Some(shards) = &mut self.shard else { return false };
        let coordinator = &mut shards.coordinators[owner];
        let behind = newest - coordinator.image.revision.get();
        if behind == 0 {
            return false;
        }
        let steps = 1 + self.random.below(behind as usize) as i64;
        let image = self.store.image_at(coordinator.image.revision.get() + steps);
        // Nothing is carried out before an image that has this process' registration.
        let own = image
            .node(coordinator_id(owner))
            .map(|node| node.registration.incarnation);
        if own != Some(coordinator.incarnation) {
            return false;
        }
        coordinator.image = Arc::clone(&image);
        let mine = image
            .shards
            .get(&SHARD)
            .filter(|it| it.owner == Some(coordinator_id(owner)));
        let partition = image
            .topic(CONSUMER_OFFSETS_TOPIC)
            .and_then(|topic| topic.partition(SHARD.index));
        let assignment = mine.map(|it| Assignment {
            coordinator_epoch: it.epoch,
            leader: partition.and_then(|it| it.leader.map(|_| it.leader_epoch)),
        });
        coordinator.shard.assign(assignment, now);
        coordinator.shard.image_changed(&image, now);
        self.trace
            .say(|| format!("coordinator {owner} sees revision {}: {assignment:?}", image.revision));
        true
    }

    fn shard_time(&mut self) -> bool {
        let now = self.shard_now();
        if let Some(shards) = &mut self.shard {
            for coordinator in &mut shards.coordinators {
                coordinator.shard.tick(now);
            }
        }
        true
    }

    /// What the owners ask for goes on its way; replies reach the client.
    pub(crate) fn carry_out_shard(&mut self) {
        for owner in 0..2 {
            loop {
                let Some(shards) = &mut self.shard else { return };
                let coordinator = &mut shards.coordinators[owner];
                let Some(action) = coordinator.shard.next_action() else {
                    break;
                };
                match action {
                    Action::Reply(token, outcome) => self.shard_replied(token, outcome),
                    Action::LoadFailed(error) => {
                        self.history
                            .check(crate::invariants::acknowledged_commits_stay::NAME, Err(error));
                    }
                    Action::Released | Action::Loaded(_) => {}
                    action => self.call_leader(owner, action),
                }
            }
        }
    }

    fn call_leader(&mut self, owner: usize, action: Action) {
        let now = self.shard_now();
        let Some(shards) = &mut self.shard else { return };
        let coordinator = &mut shards.coordinators[owner];
        let partition = coordinator
            .image
            .topic(CONSUMER_OFFSETS_TOPIC)
            .and_then(|topic| topic.partition(SHARD.index));
        let call = Call {
            owner,
            incarnation: coordinator.incarnation,
            to: partition.and_then(|it| it.leader).unwrap_or(NodeId(-1)),
            action,
        };
        if call.to.get() < 0 {
            // It could not even be sent.
            let failure = match call.action {
                Action::Confirm { .. } => Failure::Unknown(ErrorCode::NotLeaderOrFollower),
                _ => Failure::Refused(ErrorCode::NotLeaderOrFollower),
            };
            let Some((attempt, answer)) = failed(&call.action, failure) else {
                return;
            };
            tell(&mut coordinator.shard, attempt, answer, now);
        } else {
            shards.calls.push(call);
        }
    }

    /// An answer arrives, or what should be one is lost.
    fn deliver_shard_answer(&mut self) -> bool {
        let now = self.shard_now();
        let Some(shards) = &mut self.shard else { return false };
        if shards.answers.is_empty() {
            return false;
        }
        let at = self.random.below(shards.answers.len());
        let (call, mut answer) = shards.answers.swap_remove(at);
        if self.lossy && self.random.one_in(20) {
            let lost = failed(&call.action, Failure::Unknown(ErrorCode::RequestTimedOut));
            answer = lost.map_or(answer, |(_, lost)| lost);
        }
        let coordinator = &mut shards.coordinators[call.owner];
        if coordinator.incarnation != call.incarnation {
            return true;
        }
        if let Some(attempt) = attempt_of(&call.action) {
            tell(&mut coordinator.shard, attempt, answer, now);
        }
        true
    }

    pub(crate) fn answer_shard(&mut self, call: Call, answer: Answer) {
        if let Some(shards) = &mut self.shard {
            shards.answers.push((call, answer));
        }
    }

    pub(crate) fn next_wait(&mut self, call: Call) -> u64 {
        let Some(shards) = &mut self.shard else { return 0 };
        shards.waits += 1;
        shards.waiting.push((shards.waits, call));
        shards.waits
    }

    fn shard_replied(&mut self, token: Token, outcome: Outcome) {
        let Some(shards) = &mut self.shard else { return };
        let (what, result) = shards.client.replied(token, outcome);
        if result.is_err() || !what.ends_with("refused") {
            self.trace.say(|| what);
        }
        self.history
            .check(crate::invariants::acknowledged_commits_stay::NAME, result);
    }
}

fn attempt_of(action: &Action) -> Option<u64> {
    match action {
        Action::Open { attempt, .. }
        | Action::AwaitHighWatermark { attempt, .. }
        | Action::Read { attempt, .. }
        | Action::Append { attempt, .. }
        | Action::Confirm { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

/// The answer of a call that failed.
fn failed(action: &Action, failure: Failure) -> Option<(u64, Answer)> {
    let answer = match action {
        Action::Open { .. } => Answer::Opened(Err(failure)),
        Action::AwaitHighWatermark { .. } => Answer::HighWatermark(Err(failure)),
        Action::Read { .. } => Answer::Read(Err(failure)),
        Action::Append { .. } => Answer::Appended(Err(failure)),
        Action::Confirm { .. } => Answer::Confirmed(Err(failure)),
        _ => return None,
    };
    Some((attempt_of(action)?, answer))
}

fn tell(shard: &mut Shard, attempt: u64, answer: Answer, now: Now) {
    match answer {
        Answer::Opened(result) => shard.opened(attempt, result, now),
        Answer::HighWatermark(result) => shard.high_watermark(attempt, result, now),
        Answer::Read(result) => shard.read(attempt, result, now),
        Answer::Appended(result) => shard.appended(attempt, result, now),
        Answer::Confirmed(result) => shard.confirmed(attempt, result, now),
    }
}

impl Coordinator {
    /// Whom it takes for the partition's leader; `None` if it does not take itself for the owner.
    pub(crate) fn believed_leader(&self, index: usize) -> Option<NodeId> {
        let assignment = self.image.shards.get(&SHARD)?;
        let partition = self.image.topic(CONSUMER_OFFSETS_TOPIC)?.partition(SHARD.index)?;
        partition
            .leader
            .filter(|_| assignment.owner == Some(coordinator_id(index)))
    }
}

/// The epoch of the assignment that an image has.
pub(crate) fn assigned_epoch(image: &MetadataImage) -> Option<CoordinatorEpoch> {
    image.shards.get(&SHARD).map(|assignment| assignment.epoch)
}
