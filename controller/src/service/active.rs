//! The one commit queue of the active controller: commands are decided one after the other on the image that the last
//! one left, committed step by step, applied, streamed, and only then answered.

use std::sync::Arc;
use std::time::Duration;

use highwater_node::http::HealthCheck;
use highwater_node::telemetry::Trace;
use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::{NodeId, Revision};
use tokio_util::sync::CancellationToken;

use crate::cluster::{MAX_PUTS_PER_STEP, Settings, Step, election, reconcile};
use crate::service::commits::Commits;
use crate::service::decider::{DecisionError, Jobs};
use crate::service::metrics::DecisionMetrics;
use crate::service::updates::Updates;
use crate::service::view::{ReloadError, StoreBehind, StoreView};
use crate::store::layout::LayoutError;
use crate::store::{CommitError, Leadership, MAX_TXN_OPERATIONS, MetadataStore, StoreError};

/// Pause before what the image demands is tried again after the store failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

// Every step is one transaction.
const _: () = assert!(MAX_PUTS_PER_STEP <= MAX_TXN_OPERATIONS);

/// Why the active controller ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StopReason {
    /// It was asked to stop.
    #[error("asked to stop")]
    Asked,
    /// Another controller leads, or may lead.
    #[error("the leadership is lost")]
    Deposed,
    /// It broke an invariant of its own.
    #[error("the active controller failed: {0}")]
    Failed(String),
    /// The store is behind what this controller has seen of it.
    #[error(transparent)]
    Behind(#[from] StoreBehind),
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store's content is not of this release.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl From<ReloadError> for StopReason {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Layout(error) => Self::Layout(error),
            ReloadError::Behind(behind) => Self::Behind(behind),
        }
    }
}

impl From<StoreError> for StopReason {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// What an active controller works with.
pub(crate) struct ActiveParts {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) leadership: Leadership,
    pub(crate) settings: Settings,
    /// Complete: whatever was committed before the leadership began is in it.
    pub(crate) view: StoreView,
    pub(crate) updates: Arc<Updates>,
    pub(crate) metrics: DecisionMetrics,
    /// Told when the store takes no writes.
    pub(crate) health: Option<HealthCheck>,
    pub(crate) jobs: Jobs,
}

/// How a time of leading ended.
pub(crate) struct Ended {
    /// What was known of the store.
    pub(crate) view: StoreView,
    pub(crate) reason: StopReason,
    /// To be given back.
    pub(crate) leadership: Option<Leadership>,
}

/// The active controller: the only one who commits.
pub(crate) struct Active {
    store: Arc<dyn MetadataStore>,
    leadership: Arc<Leadership>,
    settings: Settings,
    view: StoreView,
    /// The last image for which nothing was left to do.
    settled: Arc<MetadataImage>,
    updates: Arc<Updates>,
    metrics: DecisionMetrics,
    health: Option<HealthCheck>,
    /// The store did not take the last write.
    refused: bool,
    jobs: Jobs,
}

impl Active {
    pub(crate) fn new(parts: ActiveParts) -> Self {
        Self {
            store: parts.store,
            leadership: Arc::new(parts.leadership),
            settings: parts.settings,
            view: parts.view,
            settled: Arc::new(MetadataImage::default()),
            updates: parts.updates,
            metrics: parts.metrics,
            health: parts.health,
            refused: false,
            jobs: parts.jobs,
        }
    }

    /// Decides until it is asked to stop or may not go on. What is in the queue then is answered with `NotActive`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Ended {
        let reason = self.decide_all(&stop).await;
        Ended {
            view: self.view,
            reason,
            // Nothing is in flight any more.
            leadership: Arc::into_inner(self.leadership),
        }
    }

    async fn decide_all(&mut self, stop: &CancellationToken) -> StopReason {
        let lost = self.leadership.lost().clone();
        loop {
            let settling = match self.settle(stop).await {
                Ok(done) => !done,
                Err(reason) => return reason,
            };
            let job = tokio::select! {
                biased;
                () = lost.cancelled() => return StopReason::Deposed,
                () = stop.cancelled() => return StopReason::Asked,
                job = self.jobs.recv() => job,
                () = tokio::time::sleep(RETRY_PAUSE), if settling || self.refused => {
                    if let Err(reason) = self.probe().await {
                        return reason;
                    }
                    continue;
                }
            };
            // All deciders are gone: nobody can ask any more.
            let Some(mut job) = job else { return StopReason::Asked };
            let steps = job.decide(self.view.image(), &self.settings);
            let commit = job.trace().map(|trace| trace.child("commit"));
            match Trace::scope_of(commit, self.commit_all(steps)).await {
                // An answer from memory is one of the active controller only while it is that.
                Ok(()) if !self.store.holds(&self.leadership) => job.answer(Err(DecisionError::NotActive)),
                Ok(()) => job.answer(Ok(Arc::clone(self.view.image()))),
                Err(error) => {
                    let (answer, end) = self.recover(error).await;
                    job.answer(Err(answer));
                    if let Some(reason) = end {
                        return reason;
                    }
                }
            }
        }
    }

    /// Does what the image demands. Answers false if the store did not take it, to be tried again.
    async fn settle(&mut self, stop: &CancellationToken) -> Result<bool, StopReason> {
        while !Arc::ptr_eq(&self.settled, self.view.image()) && !stop.is_cancelled() {
            let steps = reconcile(&self.settled, self.view.image(), &self.settings);
            if steps.is_empty() {
                self.settled = Arc::clone(self.view.image());
                break;
            }
            if let Err(error) = self.commit_all(steps).await {
                tracing::warn!(%error, "a demand of the metadata was not committed, trying again");
                return match self.recover(error).await {
                    (_, Some(reason)) => Err(reason),
                    (_, None) => Ok(false),
                };
            }
        }
        Ok(true)
    }

    /// Commits steps in their order, those that only write partitions together, and shows each to everybody.
    async fn commit_all(&mut self, steps: Vec<Step>) -> Result<(), CommitError> {
        if steps.is_empty() {
            return Ok(());
        }
        let lost = self.leadership.lost().clone();
        let mut commits = Commits::new(&self.store, &self.leadership);
        let mut failure = None;
        let mut steps = steps.into_iter().peekable();
        loop {
            if failure.is_none()
                && let Some(step) = steps.next_if(|step| commits.takes(step))
            {
                commits.send(self.view.transaction(&step), step, self.view.image().revision);
                continue;
            }
            if commits.none_in_flight() {
                break;
            }
            let done = tokio::select! {
                biased;
                () = lost.cancelled() => {
                    return Err(CommitError::Unknown("the leadership was lost meanwhile".to_owned()));
                }
                done = commits.next() => done,
            };
            match done {
                Ok(took) => self.metrics.commit_seconds.observe(took.as_secs_f64()),
                Err(error) => failure = Some(worse(failure, error)),
            }
            // One of which nobody knows may be earlier than those that are known.
            let complete = !matches!(failure, Some(CommitError::Unknown(_)));
            while let Some((revision, step)) = commits.in_order(self.view.image().revision, complete) {
                self.show(revision, step);
            }
        }
        match failure {
            Some(error) => Err(error),
            None => {
                self.took();
                Ok(())
            }
        }
    }

    fn show(&mut self, revision: Revision, step: Step) {
        self.notice_elections(&step);
        let update = self.view.committed(revision, step);
        self.updates.publish(&update, self.view.image());
    }

    /// The store takes writes.
    fn took(&mut self) {
        if std::mem::take(&mut self.refused) {
            tracing::info!("the metadata store takes writes again");
            if let Some(health) = &self.health {
                health.ready();
            }
        }
    }

    /// A write of no meaning, to find out whether the store takes writes again.
    async fn probe(&mut self) -> Result<(), StopReason> {
        if !self.refused {
            return Ok(());
        }
        match self.commit_all(vec![self.view.barrier()]).await {
            Ok(()) => Ok(()),
            Err(error) => self.recover(error).await.1.map_or(Ok(()), Err),
        }
    }

    /// Unclean elections are counted and named one by one; partitions that go offline are counted, as a fence takes
    /// many at once.
    fn notice_elections(&self, step: &Step) {
        let image = self.view.image();
        let mut offline = 0;
        for change in step {
            let Change::PutPartition(topic_id, index, after) = change else {
                continue;
            };
            let Some(before) = image.partition(*topic_id, *index) else {
                continue;
            };
            offline += usize::from(before.leader.is_some() && after.leader.is_none());
            if before.leader_epoch < after.leader_epoch && election::is_unclean(before, after) {
                self.metrics.unclean_elections.inc();
                let topic = image.topic_by_id(*topic_id).map(|topic| &*topic.name);
                let leader = after.leader.map(NodeId::get);
                tracing::warn!(topic, partition = %index, leader, "unclean leader election: records may be lost");
            }
        }
        if offline > 0 {
            tracing::warn!(partitions = offline, "partitions have no leader any more");
        }
    }

    /// What a failed commit means for the one who asked, and whether this controller may go on.
    async fn recover(&mut self, error: CommitError) -> (DecisionError, Option<StopReason>) {
        // Whatever was done of a command, the demands of the image are derived anew.
        self.settled = Arc::new(MetadataImage::default());
        match error {
            CommitError::Deposed => (DecisionError::NotActive, Some(StopReason::Deposed)),
            CommitError::Invalid(reason) => {
                tracing::error!(reason, "a decision was not a valid transaction");
                (DecisionError::Unavailable(reason.to_owned()), None)
            }
            CommitError::Unavailable(reason) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(reason, "the metadata store takes no writes");
                }
                if let Some(health) = &self.health {
                    health.not_ready(format!("the metadata store takes no writes: {reason}"));
                }
                (DecisionError::Unavailable(reason), None)
            }
            CommitError::Conflict | CommitError::Unknown(_) => {
                let answer = DecisionError::Unknown(error.to_string());
                tracing::warn!(%error, "reading the metadata back");
                // Nothing else is decided until it is known what is there.
                let lost = self.leadership.lost().clone();
                let end = tokio::select! {
                    biased;
                    () = lost.cancelled() => Some(StopReason::Deposed),
                    reloaded = self.reload() => reloaded.err(),
                };
                (answer, end)
            }
        }
    }

    /// Replaces the image by what the store has.
    async fn reload(&mut self) -> Result<(), StopReason> {
        self.view = StoreView::reloaded(self.store.load().await?, &self.updates.image())?;
        self.updates.restart(self.view.image());
        Ok(())
    }
}

/// Of two failures the one that says less about what has happened.
fn worse(first: Option<CommitError>, second: CommitError) -> CommitError {
    let rank = |error: &CommitError| match error {
        CommitError::Unknown(_) => 4,
        CommitError::Deposed => 3,
        CommitError::Conflict => 2,
        CommitError::Unavailable(_) => 1,
        CommitError::Invalid(_) => 0,
    };
    match first {
        Some(first) if rank(&first) >= rank(&second) => first,
        _ => second,
    }
}
