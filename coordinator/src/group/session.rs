//! Members have to be heard of.

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;

use super::effects::Env;
use super::membership::ClassicGroup;
use super::reply::{JoinGroupReply, Reply, SyncGroupReply};
use super::state::GroupState;
use super::timers::Timer;

impl ClassicGroup {
    /// The member was heard of, or has just been answered.
    pub(super) fn restart_session(&self, member_id: &str, env: &mut Env<'_>) {
        if let Some(member) = self.member(member_id) {
            let timer = Timer::Session(Arc::clone(&self.id), Arc::clone(&member.id));
            env.timers.schedule(timer, env.deadline(member.session_timeout));
        }
    }

    /// Nothing was heard of a member, or of a pending one, for its session timeout.
    pub(super) fn session_expired(&mut self, member_id: &str, env: &mut Env<'_>) {
        if self.pending_join.remove(member_id) {
            self.complete_join_if_all_joined(env);
            return;
        }
        if self.member(member_id).is_none_or(super::member::Member::is_excused) {
            return;
        }
        self.remove_member(member_id, env);
        self.members_left(env);
    }

    /// Removes a member; its parked requests learn that it is unknown now.
    pub(super) fn remove_member(&mut self, member_id: &str, env: &mut Env<'_>) {
        let Some(member) = self.remove(member_id) else { return };
        env.timers
            .cancel(&Timer::Session(Arc::clone(&self.id), Arc::clone(&member.id)));
        if let Some(token) = member.awaiting_join {
            let reply = JoinGroupReply::refused(Arc::from(""), ErrorCode::UnknownMemberId);
            env.reply(token, Reply::JoinGroup(reply));
        }
        if let Some(token) = member.awaiting_sync {
            env.reply(
                token,
                Reply::SyncGroup(SyncGroupReply::refused(ErrorCode::UnknownMemberId)),
            );
        }
    }

    /// Members have gone: the others have to agree again.
    pub(super) fn members_left(&mut self, env: &mut Env<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(env),
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(env),
            GroupState::Empty => {}
        }
    }
}
