//! Brokers: a disk that outlives processes, and a process that forgets. The replicas are production's; what is here is
//! the shell around them, with the disk and the network of the simulation in place of files and sockets.

mod follower;
mod images;
mod leader;
mod process;
mod proposals;
mod session;

pub use process::{Ack, Broker, Flight, LocalReplica, Process, Registration, SessionState};

use highwater_broker::replica::{AckError, Completed, Effects};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::disk::Batch;
use crate::invariants;
use crate::network::Peer;
use crate::world::World;

/// The id of the broker at an index.
#[must_use]
pub fn node_id(broker: usize) -> NodeId {
    NodeId(broker as i32 + 1)
}

/// The broker with an id.
#[must_use]
pub fn broker_index(node: NodeId) -> usize {
    (node.get() - 1).max(0) as usize
}

impl World {
    /// True if the broker's process runs and is not stopped.
    pub(crate) fn runs(&self, broker: usize) -> bool {
        let broker = &self.brokers[broker];
        broker.process.is_some() && !broker.paused
    }

    /// Some broker that runs.
    pub(crate) fn any_running(&mut self) -> Option<usize> {
        let broker = self.random.below(self.brokers.len());
        self.runs(broker).then_some(broker)
    }

    /// Some replica on a broker that runs.
    pub(crate) fn any_replica(&mut self) -> Option<(usize, TopicPartition)> {
        let broker = self.any_running()?;
        let process = self.brokers[broker].process.as_ref()?;
        if process.replicas.is_empty() {
            return None;
        }
        let nth = self.random.below(process.replicas.len());
        let key = *process.replicas.keys().nth(nth)?;
        Some((broker, key))
    }

    /// One step of a flush: it begins, its bytes reach the disk, or the process learns of it.
    pub(crate) fn flush_some(&mut self) -> bool {
        // A checkpoint or a new name in a directory has a log flushed as well.
        let without_need = self.random.one_in(6);
        self.any_replica()
            .is_some_and(|(broker, key)| self.flush(broker, key, without_need))
    }

    pub(crate) fn flush(&mut self, broker: usize, key: TopicPartition, without_need: bool) -> bool {
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get_mut(&key), process.as_mut()) else {
            return false;
        };
        let Some(local) = process.replicas.get_mut(&key) else {
            return false;
        };
        let (effects, flushed) = match local.flight {
            None => {
                let unflushed = files.durable().len() < files.batches().len();
                let needed = local.durability.end() < files.end() || unflushed || without_need;
                if needed && let Some(claim) = local.durability.begin(files.end()) {
                    local.flight = Some(Flight { claim, synced: false });
                }
                return needed;
            }
            Some(Flight { claim, synced: false }) => {
                let before = files.durable().len();
                files.sync();
                if let Some(past) = self.history.partitions.get_mut(&key) {
                    past.hold(broker, &files.durable()[before..]);
                }
                local.flight = Some(Flight { claim, synced: true });
                return true;
            }
            Some(Flight { claim, synced: true }) => {
                local.flight = None;
                local.durability.completed(claim, true);
                if files.durable().len() == files.batches().len() {
                    files.cached = local.plan.write_caching && local.replica.is_leader();
                }
                let flushed = local.flushed(files);
                (local.replica.flushed(flushed), flushed)
            }
        };
        self.trace
            .say(|| format!("b{broker} has flushed {} up to {flushed}", self.history.name(key)));
        self.carry_out(broker, key, effects);
        true
    }

    /// A leader looks for followers that lag.
    pub(crate) fn look_for_lag(&mut self) {
        let Some((broker, key)) = self.any_replica() else {
            return;
        };
        let now = self.now;
        let Some(local) = self.local(broker, key) else { return };
        let effects = local.replica.tick(now);
        self.carry_out(broker, key, effects);
    }

    pub(crate) fn local(&mut self, broker: usize, key: TopicPartition) -> Option<&mut LocalReplica> {
        self.brokers[broker].process.as_mut()?.replicas.get_mut(&key)
    }

    /// What a step of a replica led to.
    pub(crate) fn carry_out(&mut self, broker: usize, key: TopicPartition, effects: Effects<Ack>) {
        let Effects {
            completed,
            high_watermark_moved,
            proposal,
            ..
        } = effects;
        if let Some(proposal) = proposal {
            self.trace.say(|| {
                let isr: Vec<i32> = proposal.isr.iter().map(|member| member.broker.get()).collect();
                format!("b{broker} wants {} to have the ISR {isr:?}", self.history.name(key))
            });
        }
        if high_watermark_moved {
            self.high_watermark_moved(broker, key);
        }
        for Completed { ack, result } in completed {
            self.decided_ack(broker, ack, result);
        }
    }

    /// What waited for the high watermark waits no longer.
    pub(crate) fn decided_ack(&mut self, broker: usize, ack: Ack, result: Result<(), AckError>) {
        match ack {
            Ack::Producer { key, batch } => self.acknowledged(broker, key, batch, result.is_ok()),
            Ack::Shard { number, end } => self.shard_wait_is_over(number, end, result),
        }
    }

    /// Whatever is below a leader's high watermark is committed from now on.
    pub(crate) fn high_watermark_moved(&mut self, broker: usize, key: TopicPartition) {
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get_mut(&key), process.as_mut()) else {
            return;
        };
        let Some(local) = process.replicas.get_mut(&key) else {
            return;
        };
        let high_watermark = local.replica.high_watermark();
        files.high_watermark = high_watermark;
        let Some(past) = self.history.partitions.get_mut(&key) else {
            return;
        };
        let leads = local.replica.is_leader();
        let leads_in = leads.then(|| local.replica.leader_epoch());
        let result = invariants::below_high_watermark::check(past, files.batches(), high_watermark, leads_in, broker);
        let seen = local.highest_seen;
        local.highest_seen = seen.max(high_watermark);
        self.trace.say(|| {
            let role = if leads { "leads" } else { "follows" };
            format!("b{broker} {role} {} with high watermark {high_watermark}", past.name)
        });
        self.history.check(invariants::below_high_watermark::NAME, result);
        let result = invariants::high_watermark_rises::check(seen, high_watermark, broker);
        self.history.check(invariants::high_watermark_rises::NAME, result);
    }

    /// A producer's acks=all is decided.
    fn acknowledged(&mut self, broker: usize, key: TopicPartition, batch: Batch, ok: bool) {
        if !ok {
            self.trace.say(|| {
                format!(
                    "b{broker} refuses {batch:?} of {} after the append",
                    self.history.name(key)
                )
            });
            return;
        }
        self.trace
            .say(|| format!("b{broker} ACKNOWLEDGES {batch:?} of {}", self.history.name(key)));
        self.history.summary.acknowledged += 1;
        let Some(past) = self.history.partitions.get_mut(&key) else {
            return;
        };
        past.acknowledged.push(batch);
        let result = invariants::acknowledged_is_on_enough_disks::check(past, batch);
        self.history
            .check(invariants::acknowledged_is_on_enough_disks::NAME, result);
    }

    /// The process is gone; what others know of it follows later.
    pub(crate) fn end_process(&mut self, broker: usize) {
        self.brokers[broker].process = None;
        self.brokers[broker].paused = false;
        self.network.close_all(Peer::Broker(broker), &mut self.random);
        self.shard_waits_are_lost(broker);
    }
}
