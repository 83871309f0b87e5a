//! What the controller asks of a replica before it decides who leads.

use std::time::Duration;

use highwater_proto::types::{LeaderEpoch, NodeId, Offset};
use tokio::time::Instant;

use super::{HandingOver, Partition};
use crate::log::Log;

/// How far a planned move of the leadership is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// The next leader has everything, and all of it is acknowledged.
    Ready,
    /// The next leader has everything, but other in-sync replicas do not, so that requests still wait.
    Unacknowledged,
    /// The next leader lacks records.
    Behind,
    /// There is nothing to hand over: this replica does not lead in that epoch, or the other one is not in sync.
    Void,
}

impl Partition {
    /// From now on appends are refused as if this replica did not lead, so that the next leader can reach its end. Ends
    /// with the next leader epoch, when the controller keeps the leader ([`Self::end_hand_over`]), or by itself after
    /// `limit`. False if there is nothing to hand over. `question` is the controller's number of it.
    pub fn begin_hand_over(&self, question: i64, leader_epoch: LeaderEpoch, target: NodeId, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let valid = state.replica.check_leadership(Some(leader_epoch)).is_ok()
            && state.replica.progress_of(target).is_some()
            && state.log().is_ok();
        if valid {
            state.handing_over = Some(HandingOver {
                question,
                leader_epoch,
                until: Instant::now() + limit,
            });
        }
        valid
    }

    /// The leadership stays here: appends are taken again, unless a later hand-over has begun meanwhile.
    pub fn end_hand_over(&self, question: i64) {
        let mut state = self.state.lock();
        state
            .handing_over
            .take_if(|handing_over| handing_over.question == question);
    }

    /// How far it is.
    #[must_use]
    pub fn hand_over(&self, leader_epoch: LeaderEpoch, target: NodeId) -> HandOver {
        let state = self.state.lock();
        if state.replica.check_leadership(Some(leader_epoch)).is_err() {
            return HandOver::Void;
        }
        let end = state.replica.log().end;
        match state.replica.progress_of(target) {
            None => HandOver::Void,
            Some(reached) if reached < end => HandOver::Behind,
            Some(_) if state.replica.high_watermark() < end => HandOver::Unacknowledged,
            Some(_) => HandOver::Ready,
        }
    }

    /// Epoch of the last batch (-1 for an empty log) and log end: by these the longest log is found. `None` when the
    /// storage failed or is gone.
    #[must_use]
    pub fn last_epoch_and_end(&self) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        let log: &Log = state.log().ok()?;
        Some((log.last_epoch().unwrap_or(LeaderEpoch(-1)), log.log_end()))
    }
}
