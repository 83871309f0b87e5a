//! The one commit queue of the active controller: commands are decided one after the other on the image that the last
//! one left, committed step by step, applied, streamed, and only then answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::metadata::{Change, MetadataImage, MetadataUpdate};
use highwater_proto::types::{NodeId, Revision};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Command, MAX_PUTS_PER_STEP, Settings, Step, election, reconcile};
use crate::service::metrics::DecisionMetrics;
use crate::service::updates::Updates;
use crate::store::layout::{self, ABSENT, LayoutError};
use crate::store::{
    CommitError, Guard, Key, Leadership, MAX_TXN_OPERATIONS, MetadataStore, Operation, StoreError, Transaction,
};

/// Commands that may wait; beyond that callers are refused.
const QUEUE: usize = 1_024;
/// Pause before what the image demands is tried again after the store failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

// Every step is one transaction.
const _: () = assert!(MAX_PUTS_PER_STEP <= MAX_TXN_OPERATIONS);

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// This controller is not the active one, or stops.
    #[error("this controller is not active")]
    NotActive,
    /// Too many commands wait.
    #[error("the controller is overloaded")]
    Overloaded,
    /// The store cannot be reached; some steps of the command may have happened.
    #[error("{0}")]
    Unavailable(String),
    /// The command may have happened, or not, or in part.
    #[error("{0}")]
    Unknown(String),
}

/// A command's answer and the image after it.
pub(crate) struct Decided<R> {
    pub(crate) reply: R,
    pub(crate) image: Arc<MetadataImage>,
}

/// Hands commands to the queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Decider {
    queue: mpsc::Sender<Box<dyn Job>>,
}

impl Decider {
    /// Decides, commits and answers.
    pub(crate) async fn decide<C>(&self, command: C) -> Result<Decided<C::Reply>, DecisionError>
    where
        C: Command + Send + 'static,
        C::Reply: Send,
    {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Pending {
            command,
            reply: None,
            answer,
        });
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DecisionError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => DecisionError::NotActive,
        })?;
        answered.await.unwrap_or(Err(DecisionError::NotActive))
    }
}

/// A command of any type, in the queue.
trait Job: Send {
    fn decide(&mut self, image: &MetadataImage, settings: &Settings) -> Vec<Step>;
    fn answer(self: Box<Self>, outcome: Result<Arc<MetadataImage>, DecisionError>);
}

struct Pending<C: Command> {
    command: C,
    reply: Option<C::Reply>,
    answer: oneshot::Sender<Result<Decided<C::Reply>, DecisionError>>,
}

impl<C> Job for Pending<C>
where
    C: Command + Send,
    C::Reply: Send,
{
    fn decide(&mut self, image: &MetadataImage, settings: &Settings) -> Vec<Step> {
        let decision = self.command.decide(image, settings);
        self.reply = Some(decision.reply);
        decision.steps
    }

    fn answer(self: Box<Self>, outcome: Result<Arc<MetadataImage>, DecisionError>) {
        let Self { reply, answer, .. } = *self;
        let decided = outcome.and_then(|image| {
            let reply = reply.ok_or(DecisionError::NotActive)?;
            Ok(Decided { reply, image })
        });
        // Whoever asked may have gone away; what was decided stands.
        let _ = answer.send(decided);
    }
}

/// Why the active controller ended.
#[derive(Debug, thiserror::Error)]
pub enum StopReason {
    /// It was asked to stop.
    #[error("asked to stop")]
    Asked,
    /// Another controller leads, or may lead.
    #[error("the leadership is lost")]
    Deposed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's content is not of this release.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The active controller: the only one who commits.
pub(crate) struct Active {
    store: Arc<dyn MetadataStore>,
    leadership: Leadership,
    settings: Settings,
    image: Arc<MetadataImage>,
    /// The last image for which nothing was left to do.
    settled: Arc<MetadataImage>,
    /// Revisions of all keys but those of partitions, whose epochs are in the image.
    revisions: HashMap<Key, Revision>,
    updates: Arc<Updates>,
    metrics: DecisionMetrics,
    jobs: mpsc::Receiver<Box<dyn Job>>,
}

impl Active {
    /// Loads the store and publishes its image.
    pub(crate) async fn load(
        store: Arc<dyn MetadataStore>,
        leadership: Leadership,
        settings: Settings,
        updates: Arc<Updates>,
        metrics: DecisionMetrics,
    ) -> Result<(Self, Decider), StopReason> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let image = Arc::new(MetadataImage::default());
        let settled = Arc::clone(&image);
        let revisions = HashMap::new();
        let mut active = Self {
            store,
            leadership,
            settings,
            image,
            settled,
            revisions,
            updates,
            metrics,
            jobs,
        };
        active.reload().await?;
        Ok((active, Decider { queue }))
    }

    /// Decides until it is asked to stop or may not go on. What is in the queue then is answered with `NotActive`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> StopReason {
        let lost = self.leadership.lost().clone();
        loop {
            let settling = match self.settle().await {
                Ok(done) => !done,
                Err(reason) => return reason,
            };
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return StopReason::Asked,
                () = lost.cancelled() => return StopReason::Deposed,
                job = self.jobs.recv() => job,
                () = tokio::time::sleep(RETRY_PAUSE), if settling => continue,
            };
            // All deciders are gone: nobody can ask any more.
            let Some(mut job) = job else { return StopReason::Asked };
            let steps = job.decide(&self.image, &self.settings);
            match self.commit_all(steps).await {
                Ok(()) => job.answer(Ok(Arc::clone(&self.image))),
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
    async fn settle(&mut self) -> Result<bool, StopReason> {
        while !Arc::ptr_eq(&self.settled, &self.image) {
            let steps = reconcile(&self.settled, &self.image, &self.settings);
            if steps.is_empty() {
                self.settled = Arc::clone(&self.image);
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

    async fn commit_all(&mut self, steps: Vec<Step>) -> Result<(), CommitError> {
        for step in steps {
            self.commit(step).await?;
        }
        Ok(())
    }

    /// Commits one step, applies it and shows it to everybody.
    async fn commit(&mut self, step: Step) -> Result<(), CommitError> {
        let mut transaction = Transaction::default();
        for change in &step {
            for operation in layout::operations(change) {
                let modified = self.modified(change, operation.key());
                transaction.guards.push(Guard {
                    key: operation.key().clone(),
                    modified,
                });
                transaction.operations.push(operation);
            }
        }
        let written: Vec<(Key, bool)> = transaction
            .operations
            .iter()
            .map(|operation| (operation.key().clone(), matches!(operation, Operation::Put(..))))
            .collect();
        let started = tokio::time::Instant::now();
        let revision = self.store.commit(&self.leadership, transaction).await?;
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        for (key, put) in written {
            if !put {
                self.revisions.remove(&key);
            } else if !key.starts_with(layout::PARTITION_PREFIX) {
                self.revisions.insert(key, revision);
            }
        }
        self.notice_elections(&step);
        let update = MetadataUpdate {
            revision,
            changes: step,
        };
        self.image = Arc::new(self.image.apply(&update));
        self.updates.publish(&update, &self.image);
        Ok(())
    }

    /// The revision that a key has, as far as this controller knows: what the decision was made on.
    fn modified(&self, change: &Change, key: &Key) -> Revision {
        match change {
            Change::PutPartition(topic, index, _) | Change::DeletePartition(topic, index) => {
                let kept = self.image.kept_partition(*topic, *index);
                kept.map_or(ABSENT, |partition| Revision(partition.epoch.get()))
            }
            _ => self.revisions.get(key).copied().unwrap_or(ABSENT),
        }
    }

    /// Unclean elections are counted and named one by one; partitions that go offline are counted, as a fence takes
    /// many at once.
    fn notice_elections(&self, step: &Step) {
        let mut offline = 0;
        for change in step {
            let Change::PutPartition(topic_id, index, after) = change else {
                continue;
            };
            let Some(before) = self.image.partition(*topic_id, *index) else {
                continue;
            };
            offline += usize::from(before.leader.is_some() && after.leader.is_none());
            if before.leader_epoch < after.leader_epoch && election::is_unclean(before, after) {
                self.metrics.unclean_elections.inc();
                let topic = self.image.topic_by_id(*topic_id).map(|topic| &*topic.name);
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
            CommitError::Unavailable(reason) => (DecisionError::Unavailable(reason), None),
            CommitError::Conflict | CommitError::Unknown(_) => {
                let answer = DecisionError::Unknown(error.to_string());
                tracing::warn!(%error, "reading the metadata back");
                // Nothing else is decided until it is known what is there.
                (answer, self.reload().await.err())
            }
        }
    }

    /// Replaces the image by what the store has.
    async fn reload(&mut self) -> Result<(), StopReason> {
        let loaded = self.store.load().await?;
        let snapshot = layout::snapshot(&loaded)?;
        self.image = Arc::new(MetadataImage::from_snapshot(&snapshot));
        self.settled = Arc::new(MetadataImage::default());
        let others = loaded
            .entries
            .into_iter()
            .filter(|entry| !entry.key.starts_with(layout::PARTITION_PREFIX));
        self.revisions = others.map(|entry| (entry.key, entry.modified)).collect();
        self.updates.restart(&self.image);
        Ok(())
    }
}
