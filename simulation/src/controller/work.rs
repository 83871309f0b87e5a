//! The commit queue: one command after the other, step by step, each step sent, carried out by the store and noticed
//! at moments of their own.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use highwater_controller::cluster::sessions::{Patience, Sessions, StreamId};
use highwater_controller::cluster::{
    AlterPartitionReassignments, AlterPartitions, AlteredPartition, CompleteReassignments, CreateTopics, DeleteTopics,
    FenceNode, LeaveNode, Leaving, MoveLeaders, RegisterNode, Registered, RegistrationRefused, Settings, Step,
    UnfenceNode, decide, reconcile,
};
use highwater_controller::store::{Key, Transaction};
use highwater_proto::metadata::{MetadataImage, MetadataUpdate};
use highwater_proto::types::{BrokerEpoch, NodeId, Revision};
use uuid::Uuid;

use super::store::{Outcome, Store, apply_revisions};
use crate::invariants;
use crate::network::{ConnectionId, Peer};
use crate::world::World;

/// A command, and who waits for its answer.
#[derive(Clone, Debug)]
pub enum Job {
    /// What the image itself demands.
    Settle,
    /// A process start.
    Register(ConnectionId, RegisterNode),
    /// A broker is ready.
    Unfence(ConnectionId, UnfenceNode),
    /// A session is over.
    Fence(FenceNode),
    /// A broker wants to stop.
    Leave(ConnectionId, LeaveNode),
    /// A coordinator starts. Its session is not simulated.
    RegisterCoordinator(RegisterNode),
    /// It is ready.
    UnfenceCoordinator(UnfenceNode),
    /// Proposals.
    Alter(ConnectionId, AlterPartitions),
    /// A topic.
    Create(CreateTopics),
    /// A topic goes.
    Delete(DeleteTopics),
    /// Replicas move.
    Reassign(AlterPartitionReassignments),
    /// Reassignments end that took the leader away.
    Complete(CompleteReassignments),
    /// Leaderships move.
    MoveLeaders(MoveLeaders),
}

/// What a command's answer will be once its last step is committed.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nobody asked.
    None,
    /// Of [`Job::Register`].
    Registered(Result<Registered, RegistrationRefused>),
    /// Of [`Job::Unfence`].
    Unfenced(bool),
    /// Of [`Job::Leave`].
    Leaving(Option<Leaving>),
    /// Of [`Job::Alter`].
    Altered(Vec<AlteredPartition>),
}

#[derive(Clone, Debug)]
enum Phase {
    /// The next step is to be sent.
    Idle,
    /// On its way to the store.
    Sent(Transaction, Step),
    /// Carried out, or not; the answer is on its way back.
    Done(Outcome, Transaction, Step),
}

/// A command at work.
#[derive(Clone, Debug)]
pub struct Work {
    /// The command.
    pub job: Job,
    reply: Reply,
    steps: VecDeque<Step>,
    phase: Phase,
}

/// A controller that believes itself to be active.
#[derive(Debug)]
pub struct Active {
    created: Revision,
    pub(super) image: Arc<MetadataImage>,
    settled: Arc<MetadataImage>,
    revisions: HashMap<Key, Revision>,
    settings: Settings,
    pub(super) sessions: Sessions,
    pub(super) streams: BTreeMap<NodeId, (StreamId, ConnectionId)>,
    pub(super) next_stream: u64,
    pub(super) superseded: BTreeSet<Uuid>,
    pub(super) gone: BTreeSet<ConnectionId>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) work: Option<Work>,
}

impl Active {
    /// Reads the store.
    #[must_use]
    pub fn load(store: &Store, created: Revision, now: Duration) -> Self {
        let patience = Patience {
            silence: Duration::from_secs(5),
            reconnect: Duration::from_millis(500),
        };
        let image = store.image();
        let mut sessions = Sessions::new(patience);
        for node in image.nodes.values() {
            sessions.expect(node.id, node.epoch, false, now);
        }
        Self {
            created,
            image,
            settled: Arc::default(),
            revisions: store.revisions(),
            settings: settings(),
            sessions,
            streams: BTreeMap::new(),
            next_stream: 0,
            superseded: BTreeSet::new(),
            gone: BTreeSet::new(),
            jobs: VecDeque::new(),
            work: None,
        }
    }

    /// The revision of its election.
    #[must_use]
    pub fn created(&self) -> Revision {
        self.created
    }

    /// A command comes.
    pub fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// True if nothing is left to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.work.is_none() && self.jobs.is_empty() && Arc::ptr_eq(&self.settled, &self.image)
    }

    /// Decides on the next command. The level-triggered ones come first.
    fn begin(&mut self) -> Option<Work> {
        let (job, reply, steps) = if Arc::ptr_eq(&self.settled, &self.image) {
            let job = self.jobs.pop_front()?;
            let (reply, steps) = self.decide(&job);
            (job, reply, steps)
        } else {
            let steps = reconcile(&self.settled, &self.image, &self.settings);
            if steps.is_empty() {
                self.settled = Arc::clone(&self.image);
                return None;
            }
            (Job::Settle, Reply::None, steps)
        };
        Some(Work {
            job,
            reply,
            steps: steps.into(),
            phase: Phase::Idle,
        })
    }

    fn decide(&self, job: &Job) -> (Reply, Vec<Step>) {
        let (image, settings) = (&*self.image, &self.settings);
        match job {
            Job::Settle => (Reply::None, Vec::new()),
            Job::Register(_, command) => {
                let decision = decide(image, command, settings);
                (Reply::Registered(decision.reply), decision.steps)
            }
            Job::Unfence(_, command) => {
                let decision = decide(image, command, settings);
                (Reply::Unfenced(decision.reply.is_ok()), decision.steps)
            }
            Job::RegisterCoordinator(command) => (Reply::None, decide(image, command, settings).steps),
            Job::UnfenceCoordinator(command) => (Reply::None, decide(image, command, settings).steps),
            Job::Fence(command) => (Reply::None, decide(image, command, settings).steps),
            Job::Leave(_, command) => {
                let decision = decide(image, command, settings);
                (Reply::Leaving(decision.reply.ok()), decision.steps)
            }
            Job::Alter(_, command) => {
                let decision = decide(image, command, settings);
                (Reply::Altered(decision.reply), decision.steps)
            }
            Job::Create(command) => (Reply::None, decide(image, command, settings).steps),
            Job::Delete(command) => (Reply::None, decide(image, command, settings).steps),
            Job::Reassign(command) => (Reply::None, decide(image, command, settings).steps),
            Job::Complete(command) => (Reply::None, decide(image, command, settings).steps),
            Job::MoveLeaders(command) => (Reply::None, decide(image, command, settings).steps),
        }
    }
}

/// What all controllers are configured with.
#[must_use]
pub fn settings() -> Settings {
    Settings {
        num_partitions: 1,
        default_replication_factor: 1,
        min_insync_replicas: 1,
        delete_topic_enable: true,
        ..Settings::default()
    }
}

impl World {
    /// Some controller goes one step further.
    pub(crate) fn decide_some(&mut self) -> bool {
        let controller = self.random.below(self.controllers.len());
        let active = self.controllers[controller].active.as_ref();
        if active.is_none_or(Active::is_idle) {
            return false;
        }
        self.decide(controller);
        true
    }

    pub(crate) fn decide(&mut self, controller: usize) {
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        let Some(work) = &mut active.work else {
            active.work = active.begin();
            return;
        };
        match std::mem::replace(&mut work.phase, Phase::Idle) {
            Phase::Idle => match work.steps.pop_front() {
                Some(step) => {
                    let transaction = Store::transaction(&step, &active.revisions);
                    work.phase = Phase::Sent(transaction, step);
                }
                None => self.answer(controller),
            },
            Phase::Sent(transaction, step) => {
                let created = active.created;
                let outcome = self.carry_out_transaction(created, &transaction, &step);
                if let Some(active) = &mut self.controllers[controller].active
                    && let Some(work) = &mut active.work
                {
                    work.phase = Phase::Done(outcome, transaction, step);
                }
            }
            Phase::Done(outcome, transaction, step) => self.committed(controller, outcome, &transaction, step),
        }
    }

    /// The store carries a transaction out, or not, and the answer comes back, or not.
    fn carry_out_transaction(&mut self, created: Revision, transaction: &Transaction, step: &Step) -> Outcome {
        if self.trouble > 0 && self.random.one_in(self.trouble) {
            match self.random.below(3) {
                0 => return Outcome::Unavailable,
                1 => {
                    self.store.late.push((created, transaction.clone(), step.clone()));
                    return Outcome::Unknown;
                }
                _ => {
                    self.commit(created, transaction, step);
                    return Outcome::Unknown;
                }
            }
        }
        self.commit(created, transaction, step)
    }

    /// A transaction that everybody had given up lands.
    pub(crate) fn late_transaction(&mut self) -> bool {
        if self.store.late.is_empty() {
            return false;
        }
        let at = self.random.below(self.store.late.len());
        let (created, transaction, step) = self.store.late.swap_remove(at);
        self.commit(created, &transaction, &step);
        true
    }

    fn commit(&mut self, created: Revision, transaction: &Transaction, step: &Step) -> Outcome {
        let before = self.store.image();
        let outcome = self.store.commit(created, transaction, step);
        if let Outcome::Committed(revision) = outcome {
            self.history.summary.commits += 1;
            let leadership = self.store.leadership();
            let result = invariants::deposed_controllers_change_nothing::check(created, leadership);
            self.history
                .check(invariants::deposed_controllers_change_nothing::NAME, result);
            self.trace.say(|| describe(revision, step));
            self.decided(&before, step);
        }
        outcome
    }

    /// The controller learns what became of a step.
    fn committed(&mut self, controller: usize, outcome: Outcome, transaction: &Transaction, step: Step) {
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        match outcome {
            Outcome::Committed(revision) => {
                apply_revisions(&mut active.revisions, transaction, revision);
                let update = MetadataUpdate {
                    revision,
                    changes: step,
                };
                active.image = Arc::new(active.image.apply(&update));
            }
            // Only the end of the leadership makes sure that it does not happen later, unseen.
            Outcome::Deposed | Outcome::Unknown => self.resign(controller),
            Outcome::Unavailable | Outcome::Conflict => {
                let work = active.work.take();
                active.settled = Arc::default();
                if outcome == Outcome::Conflict {
                    active.image = self.store.image();
                    active.revisions = self.store.revisions();
                }
                match work.map(|work| work.job) {
                    Some(Job::Fence(command)) => self.not_fenced(controller, command),
                    Some(
                        Job::Register(connection, _)
                        | Job::Unfence(connection, _)
                        | Job::Leave(connection, _)
                        | Job::Alter(connection, _),
                    ) => {
                        self.stream_closed(controller, connection);
                        self.network.close(connection, Peer::Controller(controller));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The last step is committed.
    fn answer(&mut self, controller: usize) {
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        let Some(Work { job, reply, .. }) = active.work.take() else {
            return;
        };
        match (job, reply) {
            (Job::Register(connection, command), Reply::Registered(reply)) => {
                self.registered(controller, connection, &command, reply);
            }
            (Job::Unfence(connection, _), Reply::Unfenced(ok)) => self.unfenced(controller, connection, ok),
            (Job::Leave(connection, _), Reply::Leaving(leaving)) => self.left(controller, connection, leaving),
            (Job::Alter(connection, command), Reply::Altered(results)) => {
                self.altered_answer(controller, connection, &command, &results);
            }
            (Job::Fence(command), _) => self.fenced(controller, command.node, command.epoch),
            _ => {}
        }
    }

    /// The store did not take it.
    fn not_fenced(&mut self, controller: usize, command: FenceNode) {
        let FenceNode { node, epoch } = command;
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        let known = active.image.node(node).filter(|known| known.epoch == epoch);
        let begun = known.is_some_and(|known| !known.is_live());
        if active.sessions.not_fenced(node, epoch, begun).is_some()
            && let Some((_, connection)) = active.streams.remove(&node)
        {
            self.network.close(connection, Peer::Controller(controller));
        }
    }

    fn fenced(&mut self, controller: usize, node: NodeId, epoch: BrokerEpoch) {
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        if active.sessions.ended(node, epoch).is_some()
            && let Some((_, connection)) = active.streams.remove(&node)
        {
            self.network.close(connection, Peer::Controller(controller));
        }
    }
}

fn describe(revision: Revision, step: &Step) -> String {
    use highwater_proto::metadata::Change;
    let change = |change: &Change| match change {
        Change::PutPartition(_, index, it) => {
            let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get() - 1).collect::<Vec<_>>();
            let leader = it.leader.map(|node| node.get() - 1);
            format!(
                "partition {index}: leader {leader:?} epoch {} isr {:?} elr {:?}",
                it.leader_epoch,
                ids(&it.isr),
                ids(&it.elr)
            )
        }
        Change::PutNodeRegistration(id, _) => format!("b{} registers", id.get() - 1),
        Change::PutNodeState(id, state) => format!("b{} is {state:?}", id.get() - 1),
        Change::PutTopic { name, .. } => format!("topic {name}"),
        Change::DeleteTopic { name, .. } => format!("no topic {name}"),
        other => format!("{other:?}"),
    };
    let changes: Vec<String> = step.iter().map(change).collect();
    format!("revision {revision}: {}", changes.join("; "))
}
