//! What the controller asks of a replica before it decides who leads.

use std::time::Duration;

use highwater_proto::types::{LeaderEpoch, NodeId, Offset};
use tokio::time::Instant;

use super::Partition;
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
    /// by itself after `limit`, or with the next leader epoch. False if there is nothing to hand over.
    pub fn begin_hand_over(&self, leader_epoch: LeaderEpoch, target: NodeId, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let valid = state.replica.check_leadership(Some(leader_epoch)).is_ok()
            && state.replica.progress_of(target).is_some()
            && state.log().is_ok();
        if valid {
            state.handing_over = Some((leader_epoch, Instant::now() + limit));
        }
        valid
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
