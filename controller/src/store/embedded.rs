//! The store of a standalone process: one redb file in a folder. redb locks the file, so a second process on the same
//! folder is refused; a commit is fdatasynced before it returns, and survives kill -9.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::types::Revision;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::store::layout::ELECTION_PREFIX;
use crate::store::{
    CommitError, Entry, Guard, Leadership, Loaded, MetadataStore, Operation, StoreError, Transaction, Watch,
    WatchError, WatchEvent, check_transaction,
};

/// Name of the file in the folder.
const FILE_NAME: &str = "metadata.redb";
/// Pages that redb keeps in memory. The metadata of a laptop is small, and the image holds it already.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// What has to be free on the disk for a commit to begin. A commit that meets a full disk leaves the file in doubt, so
/// that only a restart can tell what is there: this is more than the largest one writes.
const LEAST_FREE_BYTES: u64 = 8 << 20;
/// Transactions that are kept for watchers that are behind.
const HISTORY_EVENTS: usize = 256;

/// Key to (revision of creation, revision of the last put, value).
const ENTRIES: TableDefinition<'_, &str, (i64, i64, &[u8])> = TableDefinition::new("entries");
/// The store's revision.
const REVISION: TableDefinition<'_, (), i64> = TableDefinition::new("revision");

/// [`MetadataStore`] on one file.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    database: Database,
    state: Mutex<State>,
    /// One candidate at a time.
    election: Arc<Semaphore>,
    leader: watch::Sender<Option<String>>,
}

struct State {
    revision: Revision,
    /// Revision of the election key; the leadership that commits must have it.
    leader: Revision,
    history: VecDeque<WatchEvent>,
    watchers: Vec<mpsc::Sender<Result<WatchEvent, WatchError>>>,
    /// Set by the first commit of which nobody knows whether it is on disk. An fdatasync is never retried.
    broken: Option<String>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, which is created if it is not there. Blocks: it reads and may repair the file.
    ///
    /// # Errors
    /// If another process has it, it is damaged, or the file system refuses.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        let unavailable =
            |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(folder).map_err(|error| unavailable(&error))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder
            .create(&path)
            .map_err(|error| store_error(&path, error.into()))?;
        let revision = prepare(&database).map_err(|error| store_error(&path, error))?;
        // The file itself counts only once its name is on disk, and the folder's name in its parent.
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        for folder in std::iter::once(folder).chain(parent) {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| unavailable(&error))?;
        }
        let state = State {
            revision,
            leader: Revision(0),
            history: VecDeque::new(),
            watchers: Vec::new(),
            broken: None,
        };
        let election = Arc::new(Semaphore::new(1));
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                database,
                state: Mutex::new(state),
                election,
                leader: watch::Sender::default(),
            }),
        })
    }

    /// Runs blocking work; `None` if the runtime is shutting down.
    async fn blocking<R, F>(&self, work: F) -> Option<R>
    where
        R: Send + 'static,
        F: FnOnce(&Inner) -> R + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.ok()
    }
}

fn store_error(path: &Path, error: redb::Error) -> StoreError {
    let path = path.display().to_string();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path },
        redb::Error::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => {
            StoreError::Unavailable(format!("{path}: {error}"))
        }
        other => StoreError::Damaged {
            path,
            reason: other.to_string(),
        },
    }
}

/// Creates the tables, so that reading never finds them missing, and reads the revision.
fn prepare(database: &Database) -> Result<Revision, redb::Error> {
    let write = database.begin_write()?;
    let revision = {
        write.open_table(ENTRIES)?;
        let mut table = write.open_table(REVISION)?;
        let stored = table.get(())?.map(|value| value.value());
        match stored {
            Some(revision) => revision,
            None => {
                table.insert((), 0)?;
                0
            }
        }
    };
    write.commit()?;
    Ok(Revision(revision))
}

impl Inner {
    fn load(&self) -> Result<Loaded, StoreError> {
        let (revision, read) = {
            // Under the lock, so that revision and content belong together.
            let state = self.state.lock();
            if let Some(reason) = &state.broken {
                return Err(StoreError::Unavailable(reason.clone()));
            }
            (
                state.revision,
                self.database
                    .begin_read()
                    .map_err(|error| store_error(&self.path, error.into()))?,
            )
        };
        let entries = || -> Result<Vec<Entry>, redb::Error> {
            let table = read.open_table(ENTRIES)?;
            let mut entries = Vec::new();
            for row in table.iter()? {
                let (key, row) = row?;
                let (_, modified, value) = row.value();
                let value = Bytes::copy_from_slice(value);
                entries.push(Entry {
                    key: key.value().to_owned(),
                    value,
                    modified: Revision(modified),
                });
            }
            Ok(entries)
        };
        Ok(Loaded {
            revision,
            entries: entries().map_err(|error| store_error(&self.path, error))?,
        })
    }

    fn commit(&self, leader: Revision, transaction: Transaction) -> Result<Revision, CommitError> {
        check_transaction(&transaction)?;
        let mut state = self.state.lock();
        if state.leader != leader {
            return Err(CommitError::Deposed);
        }
        self.write(&mut state, &transaction.guards, transaction.operations)
    }

    /// Refuses to begin what a full disk would not let end.
    fn check_room(&self) -> Result<(), CommitError> {
        let unavailable = |reason: String| CommitError::Unavailable(format!("{}: {reason}", self.path.display()));
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| unavailable(error.to_string()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < LEAST_FREE_BYTES {
            let reason = format!("no space left on the disk: {free} bytes are free, {LEAST_FREE_BYTES} are needed");
            return Err(unavailable(reason));
        }
        Ok(())
    }

    /// Writes the next revision: durable first, visible then.
    fn write(&self, state: &mut State, guards: &[Guard], operations: Vec<Operation>) -> Result<Revision, CommitError> {
        if let Some(reason) = &state.broken {
            return Err(CommitError::Unavailable(reason.clone()));
        }
        self.check_room()?;
        let revision = Revision(state.revision.get() + 1);
        let prepared = prepare_write(&self.database, revision, guards, &operations);
        let Some(write) = prepared.map_err(|error| CommitError::Unavailable(error.to_string()))? else {
            return Err(CommitError::Conflict);
        };
        if let Err(error) = write.commit() {
            let reason = format!("{}: {error}; restart to find out what is on disk", self.path.display());
            state.broken = Some(reason.clone());
            state.watchers.clear();
            return Err(CommitError::Unknown(reason));
        }
        state.revision = revision;
        state.publish(WatchEvent { revision, operations });
        Ok(revision)
    }
}

/// Everything but the commit; `None` if a guard does not hold.
fn prepare_write(
    database: &Database,
    revision: Revision,
    guards: &[Guard],
    operations: &[Operation],
) -> Result<Option<redb::WriteTransaction>, redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(ENTRIES)?;
        for guard in guards {
            let modified = table.get(guard.key.as_str())?.map_or(0, |row| row.value().1);
            if modified != guard.modified.get() {
                return Ok(None);
            }
        }
        for operation in operations {
            match operation {
                Operation::Put(key, value) => {
                    let created = table.get(key.as_str())?.map_or(revision.get(), |row| row.value().0);
                    table.insert(key.as_str(), (created, revision.get(), &value[..]))?;
                }
                Operation::Delete(key) => {
                    table.remove(key.as_str())?;
                }
            }
        }
        write.open_table(REVISION)?.insert((), revision.get())?;
    }
    Ok(Some(write))
}

impl State {
    fn publish(&mut self, event: WatchEvent) {
        // A watcher whose queue is full loses its place: it loads the store again.
        self.watchers
            .retain(|watcher| watcher.try_send(Ok(event.clone())).is_ok());
        if self.history.len() == HISTORY_EVENTS {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }

    fn watch(&mut self, after: Revision) -> Watch {
        // Room for the whole history, and as much again for what comes while the watcher reads it.
        let (sender, receiver) = mpsc::channel(2 * HISTORY_EVENTS);
        for event in self.history.iter().filter(|event| event.revision > after) {
            if sender.try_send(Ok(event.clone())).is_err() {
                break;
            }
        }
        let oldest = self
            .history
            .front()
            .map_or(self.revision.get() + 1, |event| event.revision.get());
        if after.get() + 1 < oldest {
            // The gap is reported at once, not when the next transaction comes.
            let (sender, receiver) = mpsc::channel(1);
            let sent = sender.try_send(Err(WatchError::Compacted { after }));
            debug_assert!(sent.is_ok(), "an empty channel has room");
            return Watch::new(after, receiver);
        }
        self.watchers.push(sender);
        Watch::new(after, receiver)
    }
}

#[tonic::async_trait]
impl MetadataStore for EmbeddedStore {
    async fn load(&self) -> Result<Loaded, StoreError> {
        let loaded = self.blocking(Inner::load).await;
        loaded.unwrap_or_else(|| Err(StoreError::Unavailable("the process is stopping".to_owned())))
    }

    async fn commit(&self, leadership: &Leadership, transaction: Transaction) -> Result<Revision, CommitError> {
        let leader = leadership.created();
        let committed = self.blocking(move |inner| inner.commit(leader, transaction)).await;
        committed.unwrap_or_else(|| Err(CommitError::Unknown("the process is stopping".to_owned())))
    }

    async fn watch(&self, after: Revision) -> Result<Watch, StoreError> {
        Ok(self.inner.state.lock().watch(after))
    }

    async fn campaign(&self, candidate: &str) -> Result<Leadership, StoreError> {
        let closed = || StoreError::Unavailable("the process is stopping".to_owned());
        let turn = Arc::clone(&self.inner.election)
            .acquire_owned()
            .await
            .map_err(|_| closed())?;
        let key = format!("{ELECTION_PREFIX}leader");
        let value = Bytes::copy_from_slice(candidate.as_bytes());
        let written = self
            .blocking(move |inner| {
                let mut state = inner.state.lock();
                // A new key each time: its revision of creation is what transactions are guarded by.
                let operations = vec![Operation::Put(key, value)];
                let created = inner.write(&mut state, &[], operations)?;
                state.leader = created;
                Ok::<_, CommitError>(created)
            })
            .await
            .ok_or_else(closed)?;
        let created = written.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.inner.leader.send_replace(Some(candidate.to_owned()));
        let inner = Arc::clone(&self.inner);
        Ok(Leadership::new(created, CancellationToken::new(), move || {
            resign(&inner, created, turn);
        }))
    }

    async fn resign(&self, leadership: Leadership) {
        drop(leadership);
    }

    fn leader(&self) -> watch::Receiver<Option<String>> {
        self.inner.leader.subscribe()
    }
}

fn resign(inner: &Inner, created: Revision, turn: OwnedSemaphorePermit) {
    let mut state = inner.state.lock();
    if state.leader == created {
        state.leader = Revision(0);
    }
    drop(state);
    inner.leader.send_replace(None);
    drop(turn);
}

#[cfg(test)]
mod tests;
