//! The watch of the metadata: reconnects by itself and goes on behind the last revision that it delivered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Event, EventType};
use highwater_proto::types::Revision;
use tokio::sync::mpsc;

use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::{Failure, header_revision};
use crate::store::etcd::keys::Keys;
use crate::store::etcd::stream::{Ended, EventStream, Scope};
use crate::store::layout::ELECTION_PREFIX;
use crate::store::{Operation, WatchError, WatchEvent};

/// Transactions that wait for the watcher; etcd keeps the rest.
pub(super) const QUEUE: usize = 256;
/// Pause before the watch is opened again, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) type Sender = mpsc::Sender<Result<WatchEvent, WatchError>>;

/// What happened since a revision.
enum Resume {
    /// Nothing of ours, up to this revision of etcd.
    NothingNew(i64),
    /// Something.
    News,
    /// The store's last transaction is older than what the watcher has.
    WentBack,
}

/// Sends what comes after a revision until the watcher is gone or cannot be served.
pub(super) async fn run(endpoints: Arc<Endpoints>, keys: Keys, after: Revision, sender: Sender) {
    let mut watching = Watching {
        endpoints: &endpoints,
        keys: &keys,
        after,
        complete: after.get(),
        sender: &sender,
        pause: FIRST_PAUSE,
    };
    tokio::select! {
        () = sender.closed() => {}
        ended = watching.run() => {
            // Who does not listen any more need not be told.
            let _ = sender.send(Err(ended)).await;
        }
    }
}

struct Watching<'a> {
    endpoints: &'a Endpoints,
    keys: &'a Keys,
    /// What was delivered last.
    after: Revision,
    /// No revision of ours that was not delivered is at or below this one of etcd.
    complete: i64,
    sender: &'a Sender,
    pause: Duration,
}

impl Watching<'_> {
    async fn run(&mut self) -> WatchError {
        loop {
            match self.follow().await {
                Ended::Compacted => {
                    tracing::info!(after = %self.after, "the metadata since then is compacted");
                    return WatchError::Compacted { after: self.after };
                }
                Ended::Broken(failure) => {
                    tracing::debug!(reason = %failure, after = %self.after, "opening the watch of the metadata again");
                }
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One stream, to its end.
    async fn follow(&mut self) -> Ended {
        let start = match resume(self.endpoints, self.keys, self.after).await {
            Ok(Resume::NothingNew(revision)) => {
                self.complete = self.complete.max(revision);
                // Not the one after: etcd gives no sign of life to a watch that begins in the future.
                self.complete
            }
            Ok(Resume::News) => self.complete + 1,
            Ok(Resume::WentBack) => {
                tracing::warn!(after = %self.after, "the store has less than it had: was it restored?");
                return Ended::Compacted;
            }
            Err(failure) => return Ended::Broken(failure),
        };
        let scope = Scope::Prefix(self.keys.prefix().to_owned());
        let mut stream = match EventStream::open(self.endpoints, scope, start).await {
            Ok(stream) => stream,
            Err(failure) => return Ended::Broken(failure),
        };
        loop {
            match stream.next().await {
                Ok(batch) => {
                    self.pause = FIRST_PAUSE;
                    for event in transactions(self.keys, &batch.events) {
                        if event.revision <= self.after {
                            continue;
                        }
                        self.after = event.revision;
                        if self.sender.send(Ok(event)).await.is_err() {
                            return Ended::Broken(Failure::NotDone("nobody watches".to_owned()));
                        }
                    }
                    self.complete = self.complete.max(batch.complete);
                }
                Err(Ended::Broken(failure)) => {
                    stream.blame(self.endpoints, &failure);
                    return Ended::Broken(failure);
                }
                Err(Ended::Compacted) => return self.compacted().await,
            }
        }
    }

    /// What the stream was to go on from is no longer kept. That ends the watch only if something of ours was in it.
    async fn compacted(&mut self) -> Ended {
        match resume(self.endpoints, self.keys, self.after).await {
            Ok(Resume::NothingNew(revision)) if revision > self.complete => {
                self.complete = revision;
                Ended::Broken(Failure::Compacted)
            }
            Ok(_) => Ended::Compacted,
            Err(failure) => Ended::Broken(failure),
        }
    }
}

/// What a watch lacks that has everything up to a revision of ours. Others may have written since, and history may be
/// compacted beyond that: as long as nothing of ours happened, nothing is missing.
async fn resume(endpoints: &Endpoints, keys: &Keys, after: Revision) -> Result<Resume, Failure> {
    let marker = keys.marker();
    let found = endpoints
        .repeat(|mut client| {
            let marker = marker.clone();
            async move { client.get(marker, None).await }
        })
        .await?;
    let last = found.kvs().first().map_or(0, etcd_client::KeyValue::mod_revision);
    Ok(match last.cmp(&after.get()) {
        std::cmp::Ordering::Equal => Resume::NothingNew(header_revision(found.header())?),
        std::cmp::Ordering::Greater => Resume::News,
        std::cmp::Ordering::Less => Resume::WentBack,
    })
}

/// The transactions of ours among events: those of one revision are one, and only ours have the mark.
fn transactions(keys: &Keys, events: &[Event]) -> Vec<WatchEvent> {
    let marker = keys.marker();
    let revision = |event: &Event| event.kv().map_or(0, etcd_client::KeyValue::mod_revision);
    let is_mark = |event: &Event| event.kv().is_some_and(|kv| kv.key() == marker.as_bytes());
    let ours = events
        .chunk_by(|left, right| revision(left) == revision(right))
        .filter(|events| events.iter().any(is_mark));
    ours.map(|events| WatchEvent {
        revision: Revision(events.first().map_or(0, revision)),
        operations: events
            .iter()
            .filter(|event| !is_mark(event))
            .filter_map(|event| operation(keys, event))
            .collect(),
    })
    .collect()
}

fn operation(keys: &Keys, event: &Event) -> Option<Operation> {
    let found = event.kv()?;
    let key = keys.own(found).filter(|key| !key.starts_with(ELECTION_PREFIX))?;
    Some(match event.event_type() {
        EventType::Put => Operation::Put(key, Bytes::copy_from_slice(found.value())),
        EventType::Delete => Operation::Delete(key),
    })
}
