//! Who leads, as etcd says: kept up to date by a watch of the election key.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, KeyValue};
use tokio::sync::watch;

use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::{Failure, header_revision};
use crate::store::etcd::keys::Keys;
use crate::store::etcd::stream::{Ended, EventStream, Scope};

/// Pause before etcd is asked again after it failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Who leads.
pub(super) struct LeaderWatch {
    /// For everybody.
    pub(super) leader: watch::Sender<Option<String>>,
    /// The same, with etcd's revision at which it was so: who knows of a later one waits for it.
    seen: watch::Sender<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    revision: i64,
    led: bool,
}

impl LeaderWatch {
    pub(super) fn new() -> Self {
        Self {
            leader: watch::Sender::default(),
            seen: watch::Sender::default(),
        }
    }

    /// Somebody led at this revision: waits until nobody does.
    pub(super) async fn gone(&self, revision: i64) {
        let mut seen = self.seen.subscribe();
        // The sender lives as long as this.
        let _ = seen.wait_for(|seen| seen.revision > revision && !seen.led).await;
    }

    fn show(&self, revision: i64, leader: Option<String>) {
        let led = leader.is_some();
        self.leader.send_if_modified(|known| {
            let changed = *known != leader;
            *known = leader;
            changed
        });
        self.seen.send_replace(Seen { revision, led });
    }

    /// Follows the election key, for ever.
    pub(super) async fn run(&self, endpoints: Arc<Endpoints>, keys: Keys) {
        loop {
            if let Err(failure) = self.follow(&endpoints, &keys).await {
                tracing::debug!(reason = %failure, "the election is not watched");
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn follow(&self, endpoints: &Endpoints, keys: &Keys) -> Result<(), Failure> {
        let key = keys.election();
        let mut found = endpoints
            .repeat(|mut client| {
                let key = key.clone();
                async move { client.get(key, None).await }
            })
            .await?;
        let revision = header_revision(found.header())?;
        self.show(revision, found.take_kvs().first().map(name));
        // Not from the next revision: etcd gives no sign of life to a watch that begins in the future.
        let mut events = EventStream::open(endpoints, Scope::Key(key), revision).await?;
        loop {
            let batch = match events.next().await {
                Ok(batch) => batch,
                Err(Ended::Compacted) => return Err(Failure::Compacted),
                Err(Ended::Broken(failure)) => {
                    events.blame(endpoints, &failure);
                    return Err(failure);
                }
            };
            for event in &batch.events {
                if let Some(key) = event.kv() {
                    let put = event.event_type() == EventType::Put;
                    self.show(key.mod_revision(), put.then(|| name(key)));
                }
            }
        }
    }
}

fn name(key: &KeyValue) -> String {
    String::from_utf8_lossy(key.value()).into_owned()
}
