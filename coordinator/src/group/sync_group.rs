//! SyncGroup (rules 78, 80, 140).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;

use super::effects::{Env, Token};
use super::membership::ClassicGroup;
use super::record::Record;
use super::reply::{Reply, SyncGroupReply};
use super::request::SyncGroup;
use super::state::GroupState;
use super::timers::Timer;

impl ClassicGroup {
    /// Gives a member its assignment, now or when the leader has brought it.
    pub(super) fn sync(&mut self, token: Token, request: SyncGroup, env: &mut Env<'_>) {
        if let Err(error) = self.validate_sync(&request) {
            return env.reply(token, Reply::SyncGroup(SyncGroupReply::refused(error)));
        }
        match self.state {
            GroupState::Empty | GroupState::PreparingRebalance => {
                let refused = SyncGroupReply::refused(ErrorCode::RebalanceInProgress);
                env.reply(token, Reply::SyncGroup(refused));
            }
            GroupState::CompletingRebalance => self.park_or_assign(token, request, env),
            GroupState::Stable => {
                self.synced(&request.member_id, env);
                env.reply(token, Reply::SyncGroup(self.assignment_of(&request.member_id)));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |given: &Option<Arc<str>>, actual: &Option<Arc<str>>| given.is_some() && given != actual;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn park_or_assign(&mut self, token: Token, request: SyncGroup, env: &mut Env<'_>) {
        if let Some(older) = self.park_sync(&request.member_id, token) {
            // The client has given up on it.
            env.reply(
                older,
                Reply::SyncGroup(SyncGroupReply::refused(ErrorCode::RebalanceInProgress)),
            );
        }
        self.synced(&request.member_id, env);
        if !self.is_leader(&request.member_id) {
            return;
        }
        let mut assignments: HashMap<Arc<str>, Bytes> = request.assignments.into_iter().collect();
        for member_id in self.member_ids() {
            self.set_assignment(&member_id, assignments.remove(&member_id).unwrap_or_default());
        }
        let record = Record::group_metadata(self);
        if env.fits(std::slice::from_ref(&record)) {
            self.transition(GroupState::Stable, env.now.wall);
            env.append(vec![record]);
            self.answer_syncs(env);
        } else {
            // It could never be stored: this generation fails, the next one may be smaller.
            self.reset_assignments(ErrorCode::UnknownServerError, env);
            self.prepare_rebalance(env);
        }
    }

    fn answer_syncs(&mut self, env: &mut Env<'_>) {
        for member_id in self.member_ids() {
            if let Some(token) = self.take_sync(&member_id) {
                env.reply(token, Reply::SyncGroup(self.assignment_of(&member_id)));
                self.restart_session(&member_id, env);
            }
        }
    }

    fn assignment_of(&self, member_id: &str) -> SyncGroupReply {
        SyncGroupReply {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self
                .member(member_id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    fn synced(&mut self, member_id: &str, env: &mut Env<'_>) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            env.timers.cancel(&Timer::PendingSync(Arc::clone(&self.id)));
        }
    }
}
