//! Following: when a follower may ask, which answers count, and where a log that has diverged is cut.

use highwater_proto::types::{LeaderEpoch, NodeId, Offset};

use super::Replica;

/// What a follower asks its leader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPoint {
    /// The leader.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// The log end, which is also the flushed end.
    pub offset: Offset,
    /// Epoch of the last batch; -1 for an empty log.
    pub last_epoch: LeaderEpoch,
    /// First offset of the log.
    pub log_start: Offset,
    /// The high watermark as known here; 2^63-1 for who does not want to be told of a higher one without records.
    pub high_watermark: Offset,
}

/// How a replica stands with its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It may fetch from there.
    Ready(FetchPoint),
    /// Something of the log is not on disk yet: to fetch now would acknowledge it.
    Unflushed,
    /// It leads itself, has no leader, or its storage is gone.
    Not,
}

/// What to do with a log that has diverged from its leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Everything from this offset on goes.
    To(Offset),
    /// The logs differ, but our epochs do not show where: everything goes.
    All,
}

impl Cut {
    /// Where a log that ends at `log_end` is cut (rule 31): the leader's largest epoch at or below our last one ends at
    /// `leader_end` there and at `own_end` here, if we know it.
    #[must_use]
    pub fn at(own_end: Option<Offset>, leader_end: Offset, log_end: Offset) -> Self {
        let cut = own_end.map_or(leader_end, |own| own.min(leader_end));
        if cut >= log_end { Self::All } else { Self::To(cut) }
    }
}

/// Rule 33: whether the log of a reader whose last record has `epoch` left ours before `offset`. `found` is our largest
/// epoch at or below that, and where it ends.
#[must_use]
pub fn has_diverged(epoch: LeaderEpoch, offset: Offset, found: (LeaderEpoch, Offset)) -> bool {
    let (found_epoch, end) = found;
    found_epoch < epoch || end < offset
}

impl<A> Replica<A> {
    /// Where the largest epoch that is not above `epoch` ends, or `None` if we cannot know. The log says `found` of it,
    /// and `newest` is the epoch of its last entry. The epoch of a leader is written down with its first append; until
    /// then it starts, and ends, where the log does.
    #[must_use]
    pub fn epoch_end(
        &self,
        epoch: LeaderEpoch,
        found: Option<(LeaderEpoch, Offset)>,
        newest: Option<LeaderEpoch>,
    ) -> Option<(LeaderEpoch, Offset)> {
        if epoch == self.leader_epoch {
            return Some((epoch, self.log.end));
        }
        if epoch > self.leader_epoch || epoch.get() < 0 {
            return None;
        }
        Some(found.unwrap_or((newest.unwrap_or(epoch), self.log.end)))
    }

    /// What to ask the leader for; the epoch of the log's last batch comes with the question (-1: empty, which skips the
    /// leader's check for divergence).
    #[must_use]
    pub fn following(&self, last_epoch: LeaderEpoch) -> Following {
        let Some(leader) = self.leader.filter(|leader| *leader != self.node && !self.is_leader()) else {
            return Following::Not;
        };
        if self.log.flushed < self.log.end {
            return Following::Unflushed;
        }
        Following::Ready(FetchPoint {
            leader,
            leader_epoch: self.leader_epoch,
            offset: self.log.end,
            last_epoch,
            log_start: self.log.start,
            high_watermark: self.high_watermark,
        })
    }

    /// Rule 129: an answer counts only if nothing changed since it was asked for.
    #[must_use]
    pub fn expects(&self, asked: &FetchPoint) -> bool {
        !self.is_leader()
            && self.leader == Some(asked.leader)
            && self.leader_epoch == asked.leader_epoch
            && self.log.end == asked.offset
    }
}
