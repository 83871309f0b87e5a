//! The stream of committed transactions.

use highwater_proto::types::Revision;
use tokio::sync::mpsc;

use crate::store::Operation;

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Its revision.
    pub revision: Revision,
    /// What it wrote; empty for revisions that wrote no metadata.
    pub operations: Vec<Operation>,
}

/// A watch ended; whoever watches loads the store again and watches from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher is so far behind that events it lacks are gone.
    #[error("transactions after revision {after} are no longer kept")]
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
    receiver: mpsc::Receiver<WatchEvent>,
    after: Revision,
}

impl Watch {
    /// A watch over events that an implementation sends. If the channel ends although the store lives, the watcher
    /// was too slow; if `after` does not fit the first event, it came too late.
    #[must_use]
    pub fn new(after: Revision, receiver: mpsc::Receiver<WatchEvent>) -> Self {
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
        if event.revision.get() != self.after.get() + 1 {
            self.receiver.close();
            return Err(WatchError::Compacted { after: self.after });
        }
        self.after = event.revision;
        Ok(event)
    }
}
