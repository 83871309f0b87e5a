//! The join phase: how a generation ends and the next one is formed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;

use super::effects::Env;
use super::membership::{ClassicGroup, InitialDelay};
use super::record::Record;
use super::reply::{JoinGroupReply, JoinedMember, Reply, SyncGroupReply};
use super::state::GroupState;
use super::timers::Timer;

/// Least time between two attempts to end a join phase that nobody has joined.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

impl ClassicGroup {
    /// Something changed that the members have to agree on again.
    pub(super) fn rebalance_or_complete_join(&mut self, env: &mut Env<'_>) {
        if self.is_in(GroupState::PreparingRebalance) {
            self.complete_join_if_all_joined(env);
        } else {
            self.prepare_rebalance(env);
        }
    }

    /// Starts a join phase. That of an empty group waits for more members first.
    pub(super) fn prepare_rebalance(&mut self, env: &mut Env<'_>) {
        if self.is_in(GroupState::CompletingRebalance) {
            self.reset_assignments(ErrorCode::RebalanceInProgress, env);
        }
        self.pending_sync.clear();
        env.timers.cancel(&Timer::PendingSync(Arc::clone(&self.id)));

        let was_empty = self.is_in(GroupState::Empty);
        self.transition(GroupState::PreparingRebalance, env.now.wall);
        if was_empty {
            let wait = env.config.initial_rebalance_delay;
            self.initial_delay = Some(InitialDelay {
                wait,
                remaining: self.rebalance_timeout().saturating_sub(wait),
                member_added: false,
            });
            env.timers
                .schedule(Timer::Join(Arc::clone(&self.id)), env.deadline(wait));
        } else if self.all_joined() {
            self.complete_join(env);
        } else {
            self.schedule_join_end(env);
        }
    }

    fn schedule_join_end(&self, env: &mut Env<'_>) {
        env.timers.schedule(
            Timer::Join(Arc::clone(&self.id)),
            env.deadline(self.rebalance_timeout()),
        );
    }

    /// Ends the join phase when nobody is missing, but never the initial delay of an empty group.
    pub(super) fn complete_join_if_all_joined(&mut self, env: &mut Env<'_>) {
        if self.is_in(GroupState::PreparingRebalance) && self.initial_delay.is_none() && self.all_joined() {
            self.complete_join(env);
        }
    }

    /// The time for joining is over.
    pub(super) fn join_expired(&mut self, env: &mut Env<'_>) {
        if !self.is_in(GroupState::PreparingRebalance) {
            return;
        }
        match &mut self.initial_delay {
            Some(delay) if delay.member_added && !delay.remaining.is_zero() => {
                let passed = delay.wait;
                delay.member_added = false;
                delay.wait = env.config.initial_rebalance_delay.min(delay.remaining);
                delay.remaining = delay.remaining.saturating_sub(passed);
                let deadline = env.deadline(delay.wait);
                env.timers.schedule(Timer::Join(Arc::clone(&self.id)), deadline);
            }
            _ => self.complete_join(env),
        }
    }

    /// Forms the next generation of those who joined. Static members stay although they are absent.
    fn complete_join(&mut self, env: &mut Env<'_>) {
        env.timers.cancel(&Timer::Join(Arc::clone(&self.id)));
        self.initial_delay = None;
        let absent = |member: &&super::member::Member| member.awaiting_join.is_none() && !member.is_static();
        let absent: Vec<Arc<str>> = self
            .members()
            .filter(absent)
            .map(|member| Arc::clone(&member.id))
            .collect();
        for member_id in absent {
            self.remove(&member_id);
            env.timers.cancel(&Timer::Session(Arc::clone(&self.id), member_id));
        }
        if !self.elect_joined_leader() && self.member_count() > 0 {
            // Only absent static members are left: their sessions decide. Their timeout may be zero, the pause is not.
            let pause = self.rebalance_timeout().max(RETRY_PAUSE);
            env.timers
                .schedule(Timer::Join(Arc::clone(&self.id)), env.deadline(pause));
            return;
        }
        self.next_generation(env.now.wall);
        if self.is_in(GroupState::Empty) {
            let record = Record::group_metadata(self);
            env.append(vec![record]);
        } else {
            self.answer_joins(env);
        }
    }

    fn answer_joins(&mut self, env: &mut Env<'_>) {
        for member_id in self.member_ids() {
            if let Some(token) = self.take_join(&member_id) {
                env.reply(token, Reply::JoinGroup(self.joined(&member_id)));
            }
            self.set_joined(&member_id);
            self.restart_session(&member_id, env);
            self.pending_sync.insert(member_id);
        }
        let deadline = env.deadline(self.rebalance_timeout());
        env.timers.schedule(Timer::PendingSync(Arc::clone(&self.id)), deadline);
    }

    /// The reply to a member of the present generation; the leader learns who the others are.
    pub(super) fn joined(&self, member_id: &Arc<str>) -> JoinGroupReply {
        JoinGroupReply {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: Arc::clone(member_id),
            members: if self.is_leader(member_id) {
                self.joined_members()
            } else {
                Vec::new()
            },
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let joined = self.members().map(|member| JoinedMember {
            member_id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        joined.collect()
    }

    /// Members that have not synced in time are removed although they heartbeat.
    pub(super) fn pending_sync_expired(&mut self, env: &mut Env<'_>) {
        let synced = matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable);
        if !synced || self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.remove(&member_id);
            env.timers.cancel(&Timer::Session(Arc::clone(&self.id), member_id));
        }
        self.prepare_rebalance(env);
    }

    /// Takes all assignments back and answers parked SyncGroups with an error.
    pub(super) fn reset_assignments(&mut self, error: ErrorCode, env: &mut Env<'_>) {
        for member_id in self.member_ids() {
            self.set_assignment(&member_id, Bytes::new());
            if let Some(token) = self.take_sync(&member_id) {
                env.reply(token, Reply::SyncGroup(SyncGroupReply::refused(error)));
                self.restart_session(&member_id, env);
            }
        }
    }
}
