//! JoinGroup (rules 73 to 77, 81, 138).

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;

use super::config::{MAX_PENDING_MEMBERS, NEW_MEMBER_JOIN_TIMEOUT};
use super::effects::{Env, Token};
use super::member::Member;
use super::membership::ClassicGroup;
use super::record::Record;
use super::reply::{JoinGroupReply, Reply, SyncGroupReply};
use super::request::JoinGroup;
use super::state::GroupState;
use super::timers::Timer;

impl ClassicGroup {
    /// Lets a member in, now or at the end of the join phase.
    pub(super) fn join(&mut self, token: Token, request: JoinGroup, env: &mut Env<'_>) {
        if !self.accepts(&request.member_id, env.config.max_size) {
            self.remove_member(&request.member_id, env);
            self.complete_join_if_all_joined(env);
            return refuse(token, "".into(), ErrorCode::GroupMaxSizeReached, env);
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return refuse(token, request.member_id, ErrorCode::InconsistentGroupProtocol, env);
        }
        let size: usize = request.protocols.iter().map(|protocol| protocol.metadata.len()).sum();
        if size > env.config.max_append_bytes.saturating_mul(2) {
            // No generation with such a member could be stored, and until it fails everybody would keep a copy.
            return refuse(token, request.member_id, ErrorCode::UnknownServerError, env);
        }
        if request.member_id.is_empty() {
            self.join_new(token, request, env);
        } else {
            self.join_known(token, request, env);
        }
    }

    /// A rejoining member is always let in unless the group has just been formed without it.
    fn accepts(&self, member_id: &str, max_size: usize) -> bool {
        match self.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                let awaits = self
                    .member(member_id)
                    .is_some_and(|member| member.awaiting_join.is_some());
                awaits || self.awaiting_join_count() < max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.member(member_id).is_some() || self.member_count() < max_size
            }
        }
    }

    fn join_new(&mut self, token: Token, request: JoinGroup, env: &mut Env<'_>) {
        let prefix = request.instance_id.as_ref().unwrap_or(&request.client_id);
        let member_id: Arc<str> = format!("{prefix}-{}", request.member_uuid).into();
        if let Some(instance_id) = &request.instance_id {
            match self.static_member_id(instance_id).cloned() {
                Some(old_id) => self.replace_static_member(token, request, &old_id, &member_id, env),
                None => self.add_member(token, request, member_id, env),
            }
        } else if !request.requires_known_member_id {
            self.add_member(token, request, member_id, env);
        } else if self.pending_join.len() >= MAX_PENDING_MEMBERS {
            refuse(token, "".into(), ErrorCode::GroupMaxSizeReached, env);
        } else {
            self.pending_join.insert(Arc::clone(&member_id));
            let timer = Timer::Session(Arc::clone(&self.id), Arc::clone(&member_id));
            env.timers.schedule(timer, env.deadline(request.session_timeout));
            refuse(token, member_id, ErrorCode::MemberIdRequired, env);
        }
    }

    fn join_known(&mut self, token: Token, request: JoinGroup, env: &mut Env<'_>) {
        let member_id = Arc::clone(&request.member_id);
        if self.pending_join.contains(&member_id) {
            if request.instance_id.is_some() {
                // Ids of static members are never pending.
                return refuse(token, member_id, ErrorCode::UnknownMemberId, env);
            }
            return self.add_member(token, request, member_id, env);
        }
        if let Err(error) = self.validate_member(&member_id, request.instance_id.as_deref()) {
            return refuse(token, member_id, error, env);
        }
        let unchanged = self
            .member(&member_id)
            .is_some_and(|member| member.protocols == request.protocols);
        let repeat = match self.state {
            GroupState::PreparingRebalance => false,
            // The first reply may have been lost.
            GroupState::CompletingRebalance => unchanged,
            // The leader rejoins to have the assignment computed again.
            GroupState::Stable => unchanged && !self.is_leader(&member_id),
            GroupState::Empty => return refuse(token, member_id, ErrorCode::UnknownMemberId, env),
        };
        if repeat {
            let reply = self.joined(&member_id);
            return env.reply(token, Reply::JoinGroup(reply));
        }
        self.park_join(token, &request, &member_id, env);
        self.rebalance_or_complete_join(env);
    }

    /// Updates a member with what its JoinGroup says and parks that.
    fn park_join(&mut self, token: Token, request: &JoinGroup, member_id: &Arc<str>, env: &mut Env<'_>) {
        let older = self.update(member_id, |member| {
            member.protocols.clone_from(&request.protocols);
            member.rebalance_timeout = request.rebalance_timeout;
            member.session_timeout = request.session_timeout;
            member.awaiting_join.replace(token)
        });
        if let Some(older) = older.flatten() {
            // The client has given up on it; if it has not, it joins again.
            refuse(older, Arc::clone(member_id), ErrorCode::RebalanceInProgress, env);
        }
    }

    fn add_member(&mut self, token: Token, request: JoinGroup, member_id: Arc<str>, env: &mut Env<'_>) {
        if let Some(delay) = &mut self.initial_delay {
            delay.member_added = true;
        }
        let member = Member {
            id: Arc::clone(&member_id),
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout: request.rebalance_timeout,
            session_timeout: request.session_timeout,
            protocols: request.protocols,
            assignment: bytes::Bytes::new(),
            awaiting_join: Some(token),
            awaiting_sync: None,
            is_new: true,
        };
        self.add(member, &request.protocol_type);
        let timer = Timer::Session(Arc::clone(&self.id), member_id);
        env.timers.schedule(timer, env.deadline(NEW_MEMBER_JOIN_TIMEOUT));
        self.rebalance_or_complete_join(env);
    }

    /// A static member came back without its member id: it gets another one, and the old one is fenced.
    fn replace_static_member(
        &mut self,
        token: Token,
        request: JoinGroup,
        old_id: &Arc<str>,
        new_id: &Arc<str>,
        env: &mut Env<'_>,
    ) {
        let old_leader = self.leader.clone().unwrap_or_default();
        let Some((join, sync)) = self.replace_static(old_id, new_id) else {
            return refuse(token, request.member_id, ErrorCode::UnknownMemberId, env);
        };
        env.timers
            .cancel(&Timer::Session(Arc::clone(&self.id), Arc::clone(old_id)));
        if let Some(join) = join {
            refuse(join, Arc::clone(old_id), ErrorCode::FencedInstanceId, env);
        }
        if let Some(sync) = sync {
            env.reply(
                sync,
                Reply::SyncGroup(SyncGroupReply::refused(ErrorCode::FencedInstanceId)),
            );
        }
        self.park_join(token, &request, new_id, env);
        self.restart_session(new_id, env);
        match self.state {
            GroupState::Stable => self.return_to_stable(token, &request, old_leader, new_id, env),
            // The old id may have gone to the leader already, which would assign to it.
            GroupState::CompletingRebalance => self.prepare_rebalance(env),
            GroupState::PreparingRebalance | GroupState::Empty => self.complete_join_if_all_joined(env),
        }
    }

    /// No rebalance if the chosen protocol stays the same: the member goes on with its assignment.
    fn return_to_stable(
        &mut self,
        token: Token,
        request: &JoinGroup,
        old_leader: Arc<str>,
        new_id: &Arc<str>,
        env: &mut Env<'_>,
    ) {
        let record = Record::group_metadata(self);
        if self.select_protocol() != self.protocol_name || !env.fits(std::slice::from_ref(&record)) {
            return self.prepare_rebalance(env);
        }
        self.take_join(new_id);
        self.set_joined(new_id);
        self.read_subscriptions();
        env.append(vec![record]);
        let mut reply = self.joined(new_id);
        if request.supports_skip_assignment {
            reply.skip_assignment = self.is_leader(new_id);
        } else {
            // An older client that is told to be the leader would assign: under its old id it syncs as a follower.
            reply.leader = old_leader;
            reply.members = Vec::new();
        }
        env.reply(token, Reply::JoinGroup(reply));
    }
}

fn refuse(token: Token, member_id: Arc<str>, error: ErrorCode, env: &mut Env<'_>) {
    env.reply(token, Reply::JoinGroup(JoinGroupReply::refused(member_id, error)));
}
