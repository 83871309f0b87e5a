//! `controller restore`: tells the cluster that its metadata store was restored from a backup.
//!
//! Revisions are the cluster's clock, and epochs are counted on: what was given out after the backup must never be given
//! out again. So the store's revision is lifted above all that was seen, leader epochs, shard epochs and producer ids
//! leap over what may have been used, and last the cluster's generation is raised, by which nodes know that an image
//! is newer than theirs although it lacks what they have seen.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use highwater_proto::metadata::{Change, MetadataImage, ShardAssignment};
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, ProducerId, Revision};

use crate::cluster::{Step, Steps};
use crate::service::commits::Commits;
use crate::service::view::StoreView;
use crate::store::layout::{self, LayoutError};
use crate::store::{CommitError, Leadership, MetadataStore, StoreError, Transaction};

/// How long controllers that run may keep the leadership before they are believed to be active.
const CAMPAIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// Name of this candidate.
const CANDIDATE: &str = "restore";
/// Revisions that nodes may not have reported, because they came just before the end.
const UNSEEN_REVISIONS: i64 = 500;
/// Transactions in flight while the revision is lifted.
const WRITES_AT_ONCE: usize = 64;
/// Elections of one partition, or assignments of one shard, that may have happened since the backup.
const LOST_ELECTIONS: i32 = 10_000;
/// Producer ids that may have been given out since the backup.
const LOST_PRODUCER_IDS: i64 = 10_000_000;

/// Why nothing, or not all, was done. To be run again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Somebody else leads.
    #[error("a controller is active: stop all controllers first, or wait until they have noticed the restore")]
    Led,
    /// Nothing was restored.
    #[error("the store has no cluster: restore the backup first")]
    Empty,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store is of another release.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// What the store is at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The cluster's generation.
    pub generation: i64,
    /// The store's revision.
    pub revision: Revision,
}

/// Makes a restored store one that the cluster goes on from. `seen` is the highest revision that any node or controller
/// has reported.
///
/// # Errors
/// [`RestoreError`]; a run that did not come to its end is harmless, and to be repeated.
pub async fn restore(store: &Arc<dyn MetadataStore>, seen: Revision) -> Result<Restored, RestoreError> {
    let leadership = tokio::time::timeout(CAMPAIGN_TIMEOUT, store.campaign(CANDIDATE))
        .await
        .map_err(|_| RestoreError::Led)??;
    let leadership = Arc::new(leadership);
    let restored = lift(store, &leadership, seen).await;
    if let Some(leadership) = Arc::into_inner(leadership) {
        store.resign(leadership).await;
    }
    restored
}

async fn lift(
    store: &Arc<dyn MetadataStore>,
    leadership: &Arc<Leadership>,
    seen: Revision,
) -> Result<Restored, RestoreError> {
    let mut view = StoreView::of(store.load().await?)?;
    if view.image().cluster.cluster_id.is_empty() {
        return Err(RestoreError::Empty);
    }
    let target = Revision(seen.get().saturating_add(UNSEEN_REVISIONS));
    tracing::info!(from = %view.image().revision, to = %target, "lifting the store's revision");
    let operations = layout::operations(&Change::PutCluster(view.image().cluster.clone()));
    let transaction = Transaction {
        guards: Vec::new(),
        operations,
    };
    let mut revision = view.image().revision;
    while revision < target {
        let missing = usize::try_from(target.get() - revision.get()).unwrap_or(usize::MAX);
        let write = |_| store.commit(leadership, transaction.clone());
        let mut writes = stream::iter((0..missing).map(write)).buffer_unordered(WRITES_AT_ONCE);
        while let Some(written) = writes.next().await {
            revision = revision.max(written?);
        }
    }
    view = StoreView::of(store.load().await?)?;
    let leaps = leaps(view.image());
    commit(store, leadership, &mut view, leaps).await?;
    let mut cluster = view.image().cluster.clone();
    cluster.generation += 1;
    commit(store, leadership, &mut view, vec![vec![Change::PutCluster(cluster)]]).await?;
    let image = view.image();
    Ok(Restored {
        generation: image.cluster.generation,
        revision: image.revision,
    })
}

/// Epochs and ids past those that may have been given out since the backup.
fn leaps(image: &MetadataImage) -> Vec<Step> {
    let mut steps = Steps::new();
    for topic in image.topics() {
        for (index, partition) in topic.indexed_partitions() {
            let mut partition = (**partition).clone();
            partition.leader_epoch = LeaderEpoch(partition.leader_epoch.get().saturating_add(LOST_ELECTIONS));
            steps.push(Change::PutPartition(topic.id, index, partition));
        }
    }
    for (id, assignment) in &image.shards {
        let epoch = CoordinatorEpoch(assignment.epoch.get().saturating_add(LOST_ELECTIONS));
        steps.push(Change::PutShard(*id, ShardAssignment { epoch, ..*assignment }));
    }
    let next = image.next_producer_id.get().saturating_add(LOST_PRODUCER_IDS);
    steps.push(Change::PutProducerIds(ProducerId(next)));
    steps.finish()
}

async fn commit(
    store: &Arc<dyn MetadataStore>,
    leadership: &Arc<Leadership>,
    view: &mut StoreView,
    steps: Vec<Step>,
) -> Result<(), CommitError> {
    let mut commits = Commits::new(store, leadership);
    let mut steps = steps.into_iter().peekable();
    loop {
        if let Some(step) = steps.next_if(|step| commits.takes(step)) {
            commits.send(view.transaction(&step), step, view.image().revision);
            continue;
        }
        if commits.none_in_flight() {
            return Ok(());
        }
        commits.next().await?;
        while let Some((revision, step)) = commits.in_order(view.image().revision, true) {
            view.committed(revision, step);
        }
    }
}
