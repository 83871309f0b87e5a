//! Where the cluster's metadata is kept. [`MetadataStore`] is the trait; nothing above it knows which implementation
//! runs. All of them pass one conformance suite (`store/conformance.rs`).
//!
//! A store is an ordered map of keys to values with one revision for the whole: every transaction that succeeds gets
//! a higher one (where the store is shared, others take some in between), and every key knows the revision that wrote
//! it last.

#[cfg(test)]
mod conformance;
mod embedded;
mod etcd;
pub mod layout;
mod watch;

use bytes::Bytes;
use highwater_proto::types::Revision;
use tokio_util::sync::CancellationToken;

pub use embedded::EmbeddedStore;
pub use etcd::EtcdStore;
pub use watch::{Watch, WatchError, WatchEvent};

/// Most writes, and most guards besides the leadership guard, that a transaction may have: etcd takes 128 of each.
pub const MAX_TXN_OPERATIONS: usize = 127;

/// A key, relative to the cluster's prefix (design section 3).
pub type Key = String;

/// A key with its value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// Revision of the last put.
    pub modified: Revision,
}

/// All keys at one revision, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The revision of the last transaction: one that every watch has shown, or is about to.
    pub revision: Revision,
    /// The keys.
    pub entries: Vec<Entry>,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes a value.
    Put(Key, Bytes),
    /// Removes a key; one that is not there is no error.
    Delete(Key),
}

impl Operation {
    /// The key that is written or removed.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// A condition: the key was last written at this revision. 0: the key is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The key.
    pub key: Key,
    /// Revision of its last put.
    pub modified: Revision,
}

/// Writes that happen together, if all guards hold and the leadership is still ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The conditions.
    pub guards: Vec<Guard>,
    /// The writes; each key at most once.
    pub operations: Vec<Operation>,
}

/// What has to hold at the moment of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// The leadership is still that of whoever commits.
    Leadership,
    /// A guard.
    Key(&'a Guard),
}

impl Transaction {
    /// All conditions, for stores that are shared: etcd's, and the simulated one.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        std::iter::once(Condition::Leadership).chain(self.guards.iter().map(Condition::Key))
    }
}

/// Reading, watching or campaigning failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error("the metadata store {path} is in use by another process")]
    InUse {
        /// The file.
        path: String,
    },
    /// The store's content cannot be read.
    #[error("the metadata store {path} is damaged: {reason}")]
    Damaged {
        /// The file or key.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The store cannot be reached, or stopped after an error.
    #[error("the metadata store is unavailable: {0}")]
    Unavailable(String),
    /// What this process is configured with does not do: a file that cannot be read, a user or a right that the store
    /// does not know.
    #[error("the metadata store refuses this process: {0}")]
    Refused(String),
}

/// A transaction did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guarded key was written by somebody else: nothing happened.
    #[error("a key was changed meanwhile")]
    Conflict,
    /// The leadership is no longer ours: nothing happened, and nothing of ours will.
    #[error("this controller is not the active one any more")]
    Deposed,
    /// The transaction has too many writes, or one key twice: nothing happened.
    #[error("not a valid transaction: {0}")]
    Invalid(&'static str),
    /// The store was not reached: nothing happened.
    #[error("the metadata store is unavailable: {0}")]
    Unavailable(String),
    /// Nobody knows whether it happened: whoever decides must read back before deciding anything else. What a load
    /// shows after this is what happened: nothing of it comes later, or the leadership is lost.
    #[error("the outcome of a transaction is unknown: {0}")]
    Unknown(String),
}

/// The right to decide, held by one candidate at a time. Every transaction is guarded by it.
pub struct Leadership {
    created: Revision,
    lost: CancellationToken,
    release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Leadership {
    /// A leadership for implementations of the store: `created` is the revision of the election key, `lost` fires when
    /// it may be somebody else's, `release` runs when it is dropped.
    pub fn new(created: Revision, lost: CancellationToken, release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self {
            created,
            lost,
            release: Some(Box::new(release)),
        }
    }

    /// Revision of the election key.
    #[must_use]
    pub fn created(&self) -> Revision {
        self.created
    }

    /// Fires when the leadership is lost.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.lost.cancel();
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

/// Where the cluster's metadata is kept.
#[tonic::async_trait]
pub trait MetadataStore: Send + Sync + 'static {
    /// All keys, linearizably: everything that was committed before the call is there.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn load(&self) -> Result<Loaded, StoreError>;

    /// Commits a transaction. It is durable before this returns, and visible to nobody before it is durable.
    ///
    /// # Errors
    /// All but [`CommitError::Unknown`] mean that nothing happened.
    async fn commit(&self, leadership: &Leadership, transaction: Transaction) -> Result<Revision, CommitError>;

    /// Every transaction after a revision, in order, without a gap: after a revision that a load or a watch of this
    /// store has shown.
    ///
    /// # Errors
    /// If the store cannot be reached. What went by too long ago is reported by the watch itself.
    async fn watch(&self, after: Revision) -> Result<Watch, StoreError>;

    /// Waits until this candidate is the only one that may commit, for as long as it takes: also until a store that
    /// cannot be reached is there again. Dropping the leadership resigns.
    ///
    /// # Errors
    /// If waiting does not help.
    async fn campaign(&self, candidate: &str) -> Result<Leadership, StoreError>;

    /// Whether the leadership may be acted upon at this moment, by this process's own clock: more than
    /// [`Leadership::lost`] says to a process that did not run for a while.
    fn holds(&self, leadership: &Leadership) -> bool {
        !leadership.lost().is_cancelled()
    }

    /// Gives the leadership back, and waits (bounded) until the store has it. Dropping it does the same in the
    /// background, which may come to nothing in a process that ends.
    async fn resign(&self, leadership: Leadership);

    /// The candidate that leads, as it named itself, and as far as this process has heard: `None` between two leaders
    /// and as long as nothing is known. While the store cannot be reached, the last one that was known.
    fn leader(&self) -> tokio::sync::watch::Receiver<Option<String>>;
}

/// Refuses transactions that no implementation may take.
///
/// # Errors
/// [`CommitError::Invalid`]
pub fn check_transaction(transaction: &Transaction) -> Result<(), CommitError> {
    if transaction.operations.is_empty() {
        return Err(CommitError::Invalid("no writes"));
    }
    if transaction.operations.len() > MAX_TXN_OPERATIONS || transaction.guards.len() > MAX_TXN_OPERATIONS {
        return Err(CommitError::Invalid("too many writes or guards"));
    }
    let mut keys: Vec<&Key> = transaction.operations.iter().map(Operation::key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(CommitError::Invalid("a key is written twice"));
    }
    Ok(())
}
