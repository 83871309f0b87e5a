//! The stream of committed transactions.

use highwater_proto::types::Revision;
use tokio::sync::mpsc;

use crate::store::Operation;

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Its revision.
    pub revision: Revision,
    /// What it wrote; empty for revisions that wrote no metadata. Keys of the election may be there or not.
    pub operations: Vec<Operation>,
}

/// A watch ended; whoever watches loads the store again and watches from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher is so far behind that events it lacks are gone, or the store is not the one that it knew.
    #[error("transactions after revision {after} are not there any more")]
    Compacted {
        /// The revision that was asked for, or that was delivered last.
        after: Revision,
    },
    /// The store is closed or cannot be reached.
    #[error("the watch was closed")]
    Closed,
}

/// Committed transactions, in order, without a gap.
pub struct Watch {
    receiver: mpsc::Receiver<Result<WatchEvent, WatchError>>,
    after: Revision,
}

impl Watch {
    /// A watch over events that an implementation sends, all of them after a revision. If the channel ends although
    /// the store lives, the watcher was too slow.
    #[must_use]
    pub fn new(after: Revision, receiver: mpsc::Receiver<Result<WatchEvent, WatchError>>) -> Self {
        Self { receiver, after }
    }

    /// The next transaction.
    ///
    /// # Errors
    /// When the watch cannot go on; it stays that way.
    pub async fn next(&mut self) -> Result<WatchEvent, WatchError> {
        let Some(event) = self.receiver.recv().await else {
            return Err(WatchError::Closed);
        };
        // A store that went back was replaced by an older one: what it says does not follow on what was seen.
        let event = event.and_then(|event| match event.revision > self.after {
            true => Ok(event),
            false => Err(WatchError::Compacted { after: self.after }),
        });
        match &event {
            Ok(event) => self.after = event.revision,
            Err(_) => self.receiver.close(),
        }
        event
    }
}
