//! Heartbeat (rule 79).

use highwater_proto::kafka::ErrorCode;

use super::effects::Env;
use super::membership::ClassicGroup;
use super::request::Heartbeat;
use super::state::GroupState;

impl ClassicGroup {
    /// Keeps a member's session and tells it whether it has to rejoin.
    pub(super) fn heartbeat(&self, request: &Heartbeat, env: &mut Env<'_>) -> ErrorCode {
        if let Err(error) = self.validate_member(&request.member_id, request.instance_id.as_deref()) {
            return error;
        }
        if request.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.restart_session(&request.member_id, env);
        match self.state {
            GroupState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::None,
        }
    }
}
