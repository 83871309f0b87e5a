//! LeaveGroup (rule 82).

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;

use super::effects::Env;
use super::membership::ClassicGroup;
use super::reply::LeftMember;
use super::request::{LeaveGroup, LeavingMember};
use super::timers::Timer;

impl ClassicGroup {
    /// Lets members go, each with its own outcome.
    pub(super) fn leave(&mut self, request: LeaveGroup, env: &mut Env<'_>) -> Vec<LeftMember> {
        let mut somebody_left = false;
        let mut outcomes = Vec::with_capacity(request.members.len());
        for member in request.members {
            let outcome = self.leave_one(&member, env);
            somebody_left |= outcome.is_ok();
            outcomes.push(LeftMember {
                member_id: member.member_id,
                instance_id: member.instance_id,
                error: outcome.err().unwrap_or(ErrorCode::None),
            });
        }
        if somebody_left {
            self.members_left(env);
        }
        outcomes
    }

    fn leave_one(&mut self, member: &LeavingMember, env: &mut Env<'_>) -> Result<(), ErrorCode> {
        let instance_id = member.instance_id.as_deref();
        if member.member_id.is_empty() {
            // An administrator removes a static member by its instance id.
            let current = instance_id.and_then(|id| self.static_member_id(id)).cloned();
            let current = current.ok_or(ErrorCode::UnknownMemberId)?;
            self.remove_member(&current, env);
            return Ok(());
        }
        if self.pending_join.remove(&member.member_id) {
            env.timers
                .cancel(&Timer::Session(Arc::clone(&self.id), Arc::clone(&member.member_id)));
            return Ok(());
        }
        self.validate_member(&member.member_id, instance_id)?;
        self.remove_member(&member.member_id, env);
        Ok(())
    }
}
