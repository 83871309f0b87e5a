//! Transactions in flight. Those of a decision that only write partitions are sent together, as long as no key is
//! written twice; everything else is sent alone, after all that came before.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use highwater_proto::metadata::Change;
use highwater_proto::types::{PartitionIndex, Revision, TopicId};
use tokio::time::Instant;

use crate::cluster::Step;
use crate::service::view::is_partition_change;
use crate::store::{CommitError, Leadership, MetadataStore, Transaction};

/// Transactions in flight at once.
const MOST: usize = 16;

/// Transactions in flight, and those that wait for earlier ones to be shown.
pub(crate) struct Commits {
    store: Arc<dyn MetadataStore>,
    leadership: Arc<Leadership>,
    flying: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Of each in flight a revision that its own is later than.
    floors: BTreeMap<usize, Revision>,
    /// Partitions that are written by what is in flight or not yet shown.
    partitions: HashSet<(TopicId, PartitionIndex)>,
    /// One that is not to be overtaken is in flight.
    alone: bool,
    next: usize,
    /// Committed, not yet shown.
    landed: BTreeMap<Revision, Step>,
}

struct Landed {
    number: usize,
    step: Step,
    took: Duration,
    outcome: Result<Revision, CommitError>,
}

impl Commits {
    pub(crate) fn new(store: &Arc<dyn MetadataStore>, leadership: &Arc<Leadership>) -> Self {
        Self {
            store: Arc::clone(store),
            leadership: Arc::clone(leadership),
            flying: FuturesUnordered::new(),
            floors: BTreeMap::new(),
            partitions: HashSet::new(),
            alone: false,
            next: 0,
            landed: BTreeMap::new(),
        }
    }

    /// True if nothing is in flight.
    pub(crate) fn none_in_flight(&self) -> bool {
        self.flying.is_empty()
    }

    /// True if a step may be sent now. What it reads of its own keys is then what it is guarded by.
    pub(crate) fn takes(&self, step: &Step) -> bool {
        if self.flying.is_empty() && self.landed.is_empty() {
            return true;
        }
        self.flying.len() < MOST
            && !self.alone
            && step.iter().all(is_partition_change)
            && !step
                .iter()
                .filter_map(partition_of)
                .any(|partition| self.partitions.contains(&partition))
    }

    /// Sends a step's transaction. `seen` is the newest revision that is known.
    pub(crate) fn send(&mut self, transaction: Transaction, step: Step, seen: Revision) {
        let number = self.next;
        self.next += 1;
        self.alone = !step.iter().all(is_partition_change);
        self.partitions.extend(step.iter().filter_map(partition_of));
        let newest = self.landed.last_key_value().map_or(seen, |(revision, _)| *revision);
        self.floors.insert(number, newest.max(seen));
        let (store, leadership) = (Arc::clone(&self.store), Arc::clone(&self.leadership));
        self.flying.push(Box::pin(async move {
            let started = Instant::now();
            let outcome = store.commit(&leadership, transaction).await;
            let took = started.elapsed();
            Landed {
                number,
                step,
                took,
                outcome,
            }
        }));
    }

    /// Waits for one that was sent, and answers how long it took. Pending for ever if there is none.
    pub(crate) async fn next(&mut self) -> Result<Duration, CommitError> {
        let Some(landed) = self.flying.next().await else {
            return std::future::pending().await;
        };
        self.floors.remove(&landed.number);
        let revision = landed.outcome?;
        self.landed.insert(revision, landed.step);
        Ok(landed.took)
    }

    /// The next one that may be shown, given the newest that was: none that is still in flight is earlier. `complete`:
    /// the outcome of all others is known.
    pub(crate) fn in_order(&mut self, shown: Revision, complete: bool) -> Option<(Revision, Step)> {
        let earliest = *self.landed.first_key_value()?.0;
        let follows = earliest.get() == shown.get() + 1;
        if !(follows || complete && self.floors.values().all(|floor| earliest <= *floor)) {
            return None;
        }
        let (revision, step) = self.landed.pop_first()?;
        for partition in step.iter().filter_map(partition_of) {
            self.partitions.remove(&partition);
        }
        Some((revision, step))
    }
}

fn partition_of(change: &Change) -> Option<(TopicId, PartitionIndex)> {
    match change {
        Change::PutPartition(topic, index, _) | Change::DeletePartition(topic, index) => Some((*topic, *index)),
        _ => None,
    }
}
