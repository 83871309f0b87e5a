//! What a step of the state machine leads to.

use smallvec::SmallVec;

use super::IsrProposal;

/// Why an append was not, or will not be, acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// Leadership was lost meanwhile (`NOT_LEADER_OR_FOLLOWER`).
    NotLeader,
    /// Stored on every in-sync replica, but those are too few (`NOT_ENOUGH_REPLICAS_AFTER_APPEND`).
    NotEnoughReplicas,
    /// The topic is gone.
    Deleted,
    /// The replica's disk failed (`KAFKA_STORAGE_ERROR`).
    Storage,
}

/// An acknowledgement that was waited for and is now decided. `A` is whatever the caller gave to [`Replica::wait`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<A> {
    /// The caller's token.
    pub ack: A,
    /// Committed, or why not.
    pub result: Result<(), AckError>,
}

/// What an input led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<A> {
    /// Acknowledgements that are decided now, in offset order.
    pub completed: SmallVec<[Completed<A>; 4]>,
    /// The high watermark moved: consumers may read further.
    pub high_watermark_moved: bool,
    /// An ISR change to send to the controller.
    pub proposal: Option<IsrProposal>,
}

impl<A> Default for Effects<A> {
    fn default() -> Self {
        Self {
            completed: SmallVec::new(),
            high_watermark_moved: false,
            proposal: None,
        }
    }
}

impl<A> Effects<A> {
    /// Adds what a further step led to.
    pub fn append(&mut self, next: Self) {
        self.completed.extend(next.completed);
        self.high_watermark_moved |= next.high_watermark_moved;
        self.proposal = next.proposal.or(self.proposal.take());
    }
}
