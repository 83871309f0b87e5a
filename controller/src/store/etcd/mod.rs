//! The store of a cluster: etcd.
//!
//! Keys are under `/highwater/<cluster>/`, revisions are etcd's. Every transaction of ours, the election's too, also
//! writes the key `revision`: so the last revision of ours is known exactly, whoever else writes to this etcd, and the
//! outcomes of loads and watches fit together.

mod campaign;
mod commit;
mod endpoints;
mod failure;
mod held;
mod keys;
mod leader;
mod lease;
mod load;
mod stream;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_node::config::EtcdConfig;
use highwater_proto::types::Revision;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::store::etcd::endpoints::Endpoints;
use crate::store::etcd::failure::Failure;
use crate::store::etcd::held::Held;
use crate::store::etcd::keys::Keys;
use crate::store::etcd::leader::LeaderWatch;
use crate::store::{CommitError, Leadership, Loaded, MetadataStore, StoreError, Transaction, Watch, check_transaction};

/// [`MetadataStore`] on etcd. Clones are the same one; the last one that is dropped ends what runs for it.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
    _running: Arc<DropGuard>,
}

struct Inner {
    endpoints: Arc<Endpoints>,
    keys: Keys,
    lease_ttl: Duration,
    leader: LeaderWatch,
    /// Leaderships that were won here and are not over, by the revision of the election key.
    held: Mutex<HashMap<Revision, Arc<Held>>>,
    stop: CancellationToken,
}

impl EtcdStore {
    /// Connects, as far as etcd can be reached: if not, that is tried again by whatever is asked of the store.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if a file of the configuration cannot be read, or etcd does not accept the user.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        // Controllers begin at different endpoints, as far as chance allows.
        Self::connect_from(config, std::process::id() as usize).await
    }

    /// Begins at one of the endpoints.
    async fn connect_from(config: EtcdConfig, first: usize) -> Result<Self, StoreError> {
        let endpoints = Arc::new(Endpoints::new(&config, first)?);
        let keys = Keys::new(&config.cluster);
        let election = keys.election();
        let asked = endpoints.repeat(|mut client| {
            let election = election.clone();
            async move { client.get(election, None).await }
        });
        match asked.await {
            Ok(_) => {}
            Err(Failure::Refused(reason)) => return Err(StoreError::Refused(reason)),
            Err(failure) => tracing::warn!(reason = %failure, "etcd is not reached yet"),
        }
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            endpoints,
            keys,
            lease_ttl: config.lease_ttl,
            leader: LeaderWatch::new(),
            held: Mutex::default(),
            stop: stop.clone(),
        });
        let watching = Arc::clone(&inner);
        inner.spawn(async move {
            let (endpoints, keys) = (Arc::clone(&watching.endpoints), watching.keys.clone());
            watching.leader.run(endpoints, keys).await;
        });
        Ok(Self {
            inner,
            _running: Arc::new(stop.drop_guard()),
        })
    }

    fn held(&self, leadership: &Leadership) -> Option<Arc<Held>> {
        self.inner.held.lock().get(&leadership.created()).cloned()
    }
}

impl Inner {
    /// Runs a task until the store is dropped.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(task));
    }
}

#[tonic::async_trait]
impl MetadataStore for EtcdStore {
    async fn load(&self) -> Result<Loaded, StoreError> {
        Ok(load::load(&self.inner.endpoints, &self.inner.keys, load::PAGE_KEYS).await?)
    }

    async fn commit(&self, leadership: &Leadership, transaction: Transaction) -> Result<Revision, CommitError> {
        check_transaction(&transaction)?;
        let held = self.held(leadership).ok_or(CommitError::Deposed)?;
        commit::commit(&self.inner.endpoints, &self.inner.keys, &held, &transaction).await
    }

    async fn watch(&self, after: Revision) -> Result<Watch, StoreError> {
        let (sender, receiver) = mpsc::channel(watch::QUEUE);
        let (endpoints, keys) = (Arc::clone(&self.inner.endpoints), self.inner.keys.clone());
        self.inner.spawn(watch::run(endpoints, keys, after, sender));
        Ok(Watch::new(after, receiver))
    }

    async fn campaign(&self, candidate: &str) -> Result<Leadership, StoreError> {
        let (held, ttl) = campaign::campaign(&self.inner, candidate).await?;
        let created = held.created;
        self.inner.held.lock().insert(created, Arc::clone(&held));
        let lost = held.lost.clone();
        // Not ended with the store: it revokes the lease.
        tokio::spawn(lease::keep(
            Arc::clone(&self.inner.endpoints),
            self.inner.keys.clone(),
            held,
            ttl,
        ));
        let inner = Arc::clone(&self.inner);
        Ok(Leadership::new(created, lost, move || {
            inner.held.lock().remove(&created);
        }))
    }

    fn holds(&self, leadership: &Leadership) -> bool {
        self.held(leadership).is_some_and(|held| held.is_ours())
    }

    async fn resign(&self, leadership: Leadership) {
        let held = self.held(&leadership);
        drop(leadership);
        if let Some(held) = held {
            // Bounded by the time that the requests to the endpoints may take.
            held.released.cancelled().await;
        }
    }

    fn leader(&self) -> tokio::sync::watch::Receiver<Option<String>> {
        self.inner.leader.leader.subscribe()
    }
}

#[cfg(test)]
mod tests;
