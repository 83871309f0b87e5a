//! Replication of one partition as a pure state machine (design section 5): inputs are appends, flush completions,
//! followers' fetches, metadata and ticks; outputs are completed acknowledgements, high watermark moves and ISR proposals.
//! No IO, no clock, no locks: time comes in as an argument, the caller carries out what [`Effects`] say.
//!
//! A replica counts for the high watermark up to its *flushed* end. Followers fetch a partition again only when what
//! they fetched is flushed, so that the fetch offset is their flushed end.

mod effects;
mod figures;
mod follower;
mod following;
mod isr;
mod leader;
mod progress;
mod shard_owner;
mod waiting;
mod witnesses;

#[cfg(test)]
mod tests;

use std::time::Duration;

use highwater_proto::metadata;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};

pub use self::effects::{AckError, Completed, Effects};
pub use self::follower::FollowerFetch;
pub use self::following::{Cut, FetchPoint, Following, has_diverged};
pub use self::isr::{IsrAnswer, IsrMember, IsrProposal};
pub use self::shard_owner::{ShardError, ShardOwner, check_assignment};

use self::follower::Follower;
use self::isr::Isr;
use self::leader::Leader;
use self::waiting::WaitingAcks;

/// What governs a replica besides its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// `min.insync.replicas` as configured; capped at the number of replicas where it is used.
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`: a follower that was not caught up for so long leaves the ISR.
    pub replica_lag_time_max: Duration,
}

/// What the image says of a broker that holds a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerView {
    /// Revision of its registration.
    pub epoch: BrokerEpoch,
    /// Not fenced and not shutting down: it may join an ISR.
    pub eligible: bool,
}

/// Where a log stands when its replica is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// First offset that may be read.
    pub start: Offset,
    /// Offset after the last record appended.
    pub end: Offset,
    /// Offset up to which the records are known to be on disk.
    pub flushed: Offset,
}

/// Why a client's or follower's request was refused before it touched the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipError {
    /// This broker does not lead the partition (`NOT_LEADER_OR_FOLLOWER`).
    NotLeader,
    /// The sender's leader epoch is older (`FENCED_LEADER_EPOCH`).
    Fenced,
    /// The sender's leader epoch is newer (`UNKNOWN_LEADER_EPOCH`).
    Unknown,
}

#[derive(Debug)]
enum Role<A> {
    Leader(Box<Leader<A>>),
    /// Copies from the leader, if there is one.
    Follower,
}

/// One replica of one partition.
#[derive(Debug)]
pub struct Replica<A> {
    node: NodeId,
    config: ReplicaConfig,
    role: Role<A>,
    leader: Option<NodeId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    replica_count: usize,
    log: LogEnds,
    high_watermark: Offset,
}

impl<A> Replica<A> {
    /// A replica on `node` that follows nobody yet. `high_watermark` is what the checkpoint remembers (0 if nothing);
    /// the log's ends bound it.
    #[must_use]
    pub fn new(node: NodeId, config: ReplicaConfig, log: LogEnds, high_watermark: Offset) -> Self {
        Self {
            node,
            config,
            role: Role::Follower,
            leader: None,
            leader_epoch: LeaderEpoch(-1),
            partition_epoch: PartitionEpoch(-1),
            replica_count: 1,
            log,
            high_watermark: high_watermark.clamp(log.start, log.end),
        }
    }

    /// Takes over what the image says of the partition. A higher leader epoch resets all follower state, also when
    /// the leader is the same; an image that is not newer than what is known changes nothing.
    pub fn assign(
        &mut self,
        partition: &metadata::Partition,
        brokers: impl Fn(NodeId) -> Option<BrokerView>,
        now: Duration,
    ) -> Effects<A> {
        let mut effects = Effects::default();
        if partition.leader_epoch < self.leader_epoch || partition.epoch < self.partition_epoch {
            return effects;
        }
        let new_epoch = partition.leader_epoch > self.leader_epoch;
        self.leader = partition.leader;
        self.leader_epoch = partition.leader_epoch;
        self.partition_epoch = partition.epoch;
        self.replica_count = partition.replication_factor();
        if partition.leader == Some(self.node) {
            if new_epoch || !self.is_leader() {
                self.start_leading(partition, &mut effects, now);
            }
            if let Role::Leader(leader) = &mut self.role {
                leader.isr.committed(partition.epoch, &partition.isr);
                leader.refresh_followers(self.node, partition, brokers, now);
            }
            self.advance(&mut effects);
            self.propose_joins(&mut effects);
        } else {
            self.stop_leading(AckError::NotLeader, &mut effects);
        }
        effects
    }

    /// Changes what governs the replica; may move the high watermark.
    pub fn reconfigure(&mut self, config: ReplicaConfig) -> Effects<A> {
        self.config = config;
        let mut effects = Effects::default();
        self.advance(&mut effects);
        effects
    }

    /// The log grew to `end`; `flushed` is `end` with write caching, else where it was.
    pub fn appended(&mut self, end: Offset, flushed: Offset) -> Effects<A> {
        debug_assert!(end >= self.log.end, "appends move the end forwards");
        self.log.end = end;
        self.flushed(flushed)
    }

    /// Everything below `flushed` is on disk.
    pub fn flushed(&mut self, flushed: Offset) -> Effects<A> {
        let mut effects = Effects::default();
        let flushed = flushed.min(self.log.end);
        if flushed > self.log.flushed {
            self.log.flushed = flushed;
            self.advance(&mut effects);
        }
        effects
    }

    /// What counts as flushed changed: `write.caching` was turned on or off. The high watermark stays where it is.
    pub fn flushed_end_is(&mut self, flushed: Offset) -> Effects<A> {
        self.log.flushed = self.log.flushed.min(flushed);
        self.flushed(flushed)
    }

    /// The log was cut: `ends` is what is left. Only a follower's log is ever cut.
    pub fn truncated(&mut self, ends: LogEnds) {
        debug_assert!(!self.is_leader(), "a leader never truncates");
        self.log = ends;
        self.high_watermark = self.high_watermark.clamp(ends.start, ends.end);
    }

    /// The log start moved forwards, by retention or `DeleteRecords`; the high watermark is never below it.
    pub fn log_start_moved(&mut self, start: Offset) -> Effects<A> {
        let mut effects = Effects::default();
        self.log.start = self.log.start.max(start);
        if self.high_watermark < self.log.start {
            self.raise(self.log.start, &mut effects);
        }
        effects
    }

    /// A follower learns its leader's high watermark; as far as its own log goes, and never backwards: what was below a
    /// high watermark stays below it.
    pub fn leader_high_watermark(&mut self, high_watermark: Offset) -> Effects<A> {
        let mut effects = Effects::default();
        let reached = high_watermark.min(self.log.end);
        if !self.is_leader() && reached > self.high_watermark {
            self.raise(reached, &mut effects);
        }
        effects
    }

    /// Refuses an append with `acks=all` while the committed ISR is too small (rule 20).
    ///
    /// # Errors
    /// [`AckError::NotLeader`] and [`AckError::NotEnoughReplicas`].
    pub fn check_append(&self, acks_all: bool) -> Result<(), AckError> {
        let Role::Leader(leader) = &self.role else {
            return Err(AckError::NotLeader);
        };
        if acks_all && leader.isr.committed_len() < self.effective_min_isr() {
            return Err(AckError::NotEnoughReplicas);
        }
        Ok(())
    }

    /// Waits until the high watermark is at or past `end`. Decided at once when it is already, or when this replica
    /// does not lead: then the token comes back with its result.
    ///
    /// # Errors
    /// The decided acknowledgement.
    pub fn wait(&mut self, end: Offset, ack: A) -> Result<(), Completed<A>> {
        let reached = self.high_watermark >= end;
        let min = self.effective_min_isr();
        match &mut self.role {
            Role::Follower => Err(Completed {
                ack,
                result: Err(AckError::NotLeader),
            }),
            Role::Leader(leader) if reached => Err(Completed {
                ack,
                result: leader.reached(self.node, min),
            }),
            Role::Leader(leader) => {
                leader.waiting.insert(end, ack);
                Ok(())
            }
        }
    }

    /// Forgets waiting acknowledgements that nobody asks for any more.
    pub fn retain_waiting(&mut self, keep: impl FnMut(&A) -> bool) {
        if let Role::Leader(leader) = &mut self.role {
            leader.waiting.retain(keep);
        }
    }

    /// The replica ends here: deleted, or its disk failed. Everything that waits is told so.
    pub fn stop(&mut self, error: AckError) -> Effects<A> {
        let mut effects = Effects::default();
        self.leader = None;
        self.stop_leading(error, &mut effects);
        effects
    }

    /// A follower asks from `fetch.offset`: that is its flushed end.
    ///
    /// # Errors
    /// [`LeadershipError::NotLeader`] when this broker does not lead, or when the follower's broker epoch is not the one
    /// that the image names: what was known of that follower is then forgotten.
    pub fn follower_fetched(&mut self, fetch: FollowerFetch) -> Result<Effects<A>, LeadershipError> {
        let mut effects = Effects::default();
        let (log_end, high_watermark) = (self.log.end, self.high_watermark);
        let Role::Leader(leader) = &mut self.role else {
            return Err(LeadershipError::NotLeader);
        };
        let epoch_start = leader.epoch_start;
        let follower = leader
            .followers
            .iter_mut()
            .find(|follower| follower.node == fetch.node)
            .ok_or(LeadershipError::NotLeader)?;
        if !follower.accepts(fetch.broker_epoch) {
            follower.reset();
            return Err(LeadershipError::NotLeader);
        }
        follower.fetched(&fetch, log_end);
        if fetch.offset < high_watermark && leader.isr.is_committed_member(fetch.node) {
            effects.proposal = leader.propose_removal(self.node, self.leader_epoch, fetch.node);
        } else if follower.may_join(high_watermark.max(epoch_start)) {
            let joiner = IsrMember {
                broker: fetch.node,
                epoch: fetch.broker_epoch,
            };
            effects.proposal = leader.propose_join(self.node, self.leader_epoch, joiner);
        }
        self.advance(&mut effects);
        Ok(effects)
    }

    /// Looks for followers that lag too long; to be called every half of `replica_lag_time_max`.
    pub fn tick(&mut self, now: Duration) -> Effects<A> {
        let mut effects = Effects::default();
        let (log_end, max_lag) = (self.log.end, self.config.replica_lag_time_max);
        if let Role::Leader(leader) = &mut self.role {
            leader.followers.iter_mut().for_each(|it| it.is_caught_up(log_end, now));
            effects.proposal = leader.propose_leave(self.node, self.leader_epoch, log_end, now, max_lag);
        }
        self.propose_joins(&mut effects);
        effects
    }

    /// The controller answered the proposal that was made on `base`. No answer is no answer: the caller sends the same
    /// proposal again, and the added replica keeps counting (known trace R5).
    pub fn isr_answered(&mut self, base: PartitionEpoch, answer: IsrAnswer) -> Effects<A> {
        let mut effects = Effects::default();
        if let Role::Leader(leader) = &mut self.role {
            if let IsrAnswer::Committed { epoch, .. } = &answer {
                self.partition_epoch = self.partition_epoch.max(*epoch);
            }
            let committed = matches!(answer, IsrAnswer::Committed { .. });
            leader.isr.answered(base, answer);
            self.advance(&mut effects);
            if committed {
                self.propose_joins(&mut effects);
            }
        }
        effects
    }

    /// Followers that have everything but could not join when they fetched: their broker was fenced then, or another
    /// proposal was under way. Who has everything does not fetch again until there is more. Who lacks something joins by
    /// fetching it only: a follower that was put out because it says nothing more must not come back by itself.
    fn propose_joins(&mut self, effects: &mut Effects<A>) {
        let log_end = self.log.end;
        if let Role::Leader(leader) = &mut self.role
            && effects.proposal.is_none()
        {
            let needed = log_end.max(leader.epoch_start);
            effects.proposal = leader.propose_joins(self.node, self.leader_epoch, needed);
        }
    }

    /// The proposal that waits for an answer, to be sent again after a timeout.
    #[must_use]
    pub fn pending_proposal(&self) -> Option<&IsrProposal> {
        match &self.role {
            Role::Leader(leader) => leader.isr.pending(),
            Role::Follower => None,
        }
    }

    /// Checks that this replica leads in the epoch that a request names (`None`: the request names none).
    ///
    /// # Errors
    /// [`LeadershipError`], epoch first as in Kafka.
    pub fn check_leadership(&self, current_leader_epoch: Option<LeaderEpoch>) -> Result<(), LeadershipError> {
        match current_leader_epoch {
            Some(epoch) if epoch < self.leader_epoch => Err(LeadershipError::Fenced),
            Some(epoch) if epoch > self.leader_epoch => Err(LeadershipError::Unknown),
            _ if self.is_leader() => Ok(()),
            _ => Err(LeadershipError::NotLeader),
        }
    }

    /// True while this replica leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The broker that this replica is on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The leader, if there is one.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The newest leader epoch known.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Everything below it is on every in-sync replica and readable.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Everything below it is decided for `read_committed` readers: the high watermark as long as no transaction is
    /// open.
    #[must_use]
    pub fn last_stable_offset(&self, first_unstable: Option<Offset>) -> Offset {
        first_unstable.map_or(self.high_watermark, |unstable| unstable.min(self.high_watermark))
    }

    /// Where the log stands.
    #[must_use]
    pub fn log(&self) -> LogEnds {
        self.log
    }

    /// True once everything of earlier epochs is committed: before that the log end of this leader is not known to be
    /// final (rule 24, `OFFSET_NOT_AVAILABLE`).
    #[must_use]
    pub fn knows_latest(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => self.high_watermark >= leader.epoch_start,
            Role::Follower => false,
        }
    }

    /// Committed in-sync replicas; empty on a follower.
    #[must_use]
    pub fn isr(&self) -> &[NodeId] {
        match &self.role {
            Role::Leader(leader) => leader.isr.committed_members(),
            Role::Follower => &[],
        }
    }

    /// `min.insync.replicas`, capped at the number of replicas (rule 19).
    fn effective_min_isr(&self) -> usize {
        self.config.min_insync_replicas.min(self.replica_count).max(1)
    }

    fn start_leading(&mut self, partition: &metadata::Partition, effects: &mut Effects<A>, now: Duration) {
        // What waited in an older epoch must not be acknowledged by this one.
        self.stop_leading(AckError::NotLeader, effects);
        let followers = partition
            .replicas
            .iter()
            .filter(|node| **node != self.node)
            .map(|node| Follower::new(*node, partition.isr.contains(node), now))
            .collect();
        self.role = Role::Leader(Box::new(Leader {
            epoch_start: self.log.end,
            followers,
            isr: Isr::new(partition.epoch, &partition.isr),
            waiting: WaitingAcks::default(),
        }));
    }

    fn stop_leading(&mut self, error: AckError, effects: &mut Effects<A>) {
        if let Role::Leader(mut leader) = std::mem::replace(&mut self.role, Role::Follower) {
            effects.completed.extend(leader.waiting.drain().map(|ack| Completed {
                ack,
                result: Err(error),
            }));
        }
    }

    /// High watermark = the least flushed end of the maximal ISR, frozen while the committed ISR is below min ISR
    /// (rule 23); it never goes back.
    fn advance(&mut self, effects: &mut Effects<A>) {
        let min = self.effective_min_isr();
        let Role::Leader(leader) = &self.role else { return };
        if leader.isr.committed_len() < min {
            return;
        }
        let followers = leader
            .followers
            .iter()
            .filter(|follower| leader.isr.is_maximal_member(follower.node))
            .map(Follower::flushed_end);
        let candidate = followers.fold(self.log.flushed, Offset::min);
        if candidate > self.high_watermark {
            self.raise(candidate, effects);
        }
    }

    fn raise(&mut self, to: Offset, effects: &mut Effects<A>) {
        self.high_watermark = to;
        effects.high_watermark_moved = true;
        let (min, node) = (self.effective_min_isr(), self.node);
        if let Role::Leader(leader) = &mut self.role {
            let result = leader.reached(node, min);
            effects
                .completed
                .extend(leader.waiting.reached(to).map(|ack| Completed { ack, result }));
        }
    }
}
