//! The life of a controller: it stands by with a warm image, leads when it is elected, and stands by again when it
//! leads no more.
//!
//! A standby follows the store's watch and serves what it sees, so that it needs not read everything when its turn
//! comes. Whether it has seen everything is found out by a transaction of its own that changes nothing: once the watch
//! brings that, everything that earlier leaders committed has been seen, and they can commit nothing later.

use std::sync::Arc;
use std::time::Duration;

use highwater_node::session::Backoff;
use highwater_proto::types::Revision;

use crate::service::office::{Office, Role};
use crate::service::view::{ReloadError, StoreBehind, StoreView};
use crate::service::{StartError, StopReason};
use crate::store::layout::LayoutError;
use crate::store::{CommitError, Leadership, StoreError, Watch, WatchError};

/// Pauses between attempts to read the store.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the watch may take to bring what is in the store; then everything is read.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes part in the election until the process stops.
///
/// # Errors
/// What only an administrator can mend.
pub(crate) async fn run(office: &Arc<Office>) -> Result<(), StartError> {
    let mut standby = Standby::default();
    loop {
        let elected = tokio::select! {
            biased;
            () = office.shutdown.triggered() => return Ok(()),
            elected = stand_by(office, &mut standby) => elected?,
        };
        let Some(leadership) = elected else { continue };
        let view = std::mem::take(&mut standby.view);
        let term = match office.lead(leadership, view).await {
            Ok(term) => term,
            // It was over before it began; what it knew is read again.
            Err(StartError::Stopped(StopReason::Asked | StopReason::Deposed | StopReason::Store(_))) => {
                standby = Standby::default();
                continue;
            }
            // The store or the leadership failed under it, which passes.
            Err(StartError::Bootstrap(error)) => {
                tracing::warn!(%error, "elected, but the first decision failed; standing by");
                say(office, Err(error.to_string()));
                standby = Standby::default();
                tokio::select! {
                    () = tokio::time::sleep(LONGEST_PAUSE) => continue,
                    () = office.shutdown.triggered() => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        };
        let (view, reason) = term.ended().await;
        standby = Standby {
            view,
            complete: true,
            ..Standby::default()
        };
        match reason {
            StopReason::Behind(behind) => standby.behind = Some(behind),
            StopReason::Layout(error) => return Err(StopReason::Layout(error).into()),
            StopReason::Failed(error) => return Err(StopReason::Failed(error).into()),
            reason => tracing::info!(%reason, "standing by"),
        }
    }
}

/// Follows the store until this controller is elected and has seen everything. `None`: elected in vain.
async fn stand_by(office: &Office, standby: &mut Standby) -> Result<Option<Leadership>, StartError> {
    while standby.behind.is_some() {
        standby.follow_once(office).await.map_err(StopReason::Layout)?;
    }
    let campaign = office.store.campaign(&office.config.name);
    let mut leaders = office.store.leader();
    tokio::pin!(campaign);
    let leadership = loop {
        let leader = leaders.borrow_and_update().clone();
        office
            .role
            .send_replace(Role::Standby(leader.filter(|leader| *leader != office.config.name)));
        tokio::select! {
            elected = &mut campaign => break elected.map_err(StopReason::from)?,
            // The sender is the store's own.
            Ok(()) = leaders.changed() => {}
            error = standby.follow(office) => return Err(StopReason::Layout(error).into()),
        }
    };
    office.role.send_replace(Role::Standby(None));
    match standby.catch_up(office, &leadership).await {
        Ok(()) => {
            say(office, Ok(()));
            Ok(Some(leadership))
        }
        Err(NotReady::Layout(error)) => Err(StopReason::Layout(error).into()),
        Err(error) => {
            tracing::warn!(%error, "elected, but not able to lead");
            say(office, Err(error.to_string()));
            if let NotReady::Behind(behind) = error {
                standby.behind = Some(behind);
            }
            office.store.resign(leadership).await;
            // Another one may be.
            tokio::time::sleep(LONGEST_PAUSE).await;
            Ok(None)
        }
    }
}

/// Says how it stands with the store.
fn say(office: &Office, state: Result<(), String>) {
    if let Some(health) = &office.health {
        match state {
            Ok(()) => health.ready(),
            Err(reason) => health.not_ready(reason),
        }
    }
}

/// A warm image.
#[derive(Default)]
struct Standby {
    view: StoreView,
    /// The view is one of everything that was in the store at its revision.
    complete: bool,
    watch: Option<Watch>,
    /// The store lacks what somebody has seen of it: nothing may be decided on it.
    behind: Option<StoreBehind>,
    backoff: Option<Backoff>,
}

/// Why an image is not what the store has.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Layout(LayoutError),
    #[error(transparent)]
    Behind(StoreBehind),
    #[error("{0}")]
    Commit(#[from] CommitError),
}

impl From<ReloadError> for NotReady {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Layout(error) => Self::Layout(error),
            ReloadError::Behind(behind) => Self::Behind(behind),
        }
    }
}

impl Standby {
    /// Follows the store for ever, whatever happens to it; ends only if its content is not of this release. What is
    /// seen stays when this future is dropped.
    async fn follow(&mut self, office: &Office) -> LayoutError {
        loop {
            if let Err(error) = self.follow_once(office).await {
                return error;
            }
        }
    }

    async fn follow_once(&mut self, office: &Office) -> Result<(), LayoutError> {
        let problem = match self.step(office).await {
            Ok(()) => {
                self.backoff = None;
                return Ok(());
            }
            Err(NotReady::Layout(error)) => return Err(error),
            Err(problem) => problem,
        };
        tracing::warn!(%problem, "the metadata cannot be followed, trying again");
        say(office, Err(problem.to_string()));
        let backoff = self
            .backoff
            .get_or_insert_with(|| Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
        tokio::time::sleep(backoff.pause()).await;
        Ok(())
    }

    /// Sees what the watch brings next; reads the store and watches from there if there is no watch.
    async fn step(&mut self, office: &Office) -> Result<(), NotReady> {
        let Some(watch) = &mut self.watch else {
            if !self.complete {
                self.reload(office).await?;
            }
            self.watch = Some(office.store.watch(self.view.image().revision).await?);
            say(
                office,
                self.behind.as_ref().map_or(Ok(()), |behind| Err(behind.to_string())),
            );
            return Ok(());
        };
        match watch.next().await {
            Ok(event) => {
                let generation = self.view.image().cluster.generation;
                let update = self.view.seen(&event).map_err(NotReady::Layout)?;
                let image = self.view.image();
                if image.cluster.generation == generation || generation == 0 {
                    office.updates.publish(&update, image);
                } else {
                    // The store was restored: what it has does not follow on what was seen.
                    (self.watch, self.complete) = (None, false);
                }
            }
            Err(WatchError::Closed) => self.watch = None,
            Err(error @ WatchError::Compacted { .. }) => {
                tracing::info!(%error, "reading the metadata again");
                (self.watch, self.complete) = (None, false);
            }
        }
        self.look_back();
        Ok(())
    }

    async fn reload(&mut self, office: &Office) -> Result<(), NotReady> {
        self.view = StoreView::reloaded(office.store.load().await?, &office.updates.image())?;
        self.complete = true;
        office.updates.restart(self.view.image());
        self.look_back();
        Ok(())
    }

    /// Forgets that the store was behind, once it is not any more.
    fn look_back(&mut self) {
        let image = self.view.image();
        if self.behind.take_if(|behind| behind.is_over(image)).is_some() {
            tracing::info!("the metadata store is no longer behind");
        }
    }

    /// Makes sure that everything that earlier leaders committed is seen.
    async fn catch_up(&mut self, office: &Office, leadership: &Leadership) -> Result<(), NotReady> {
        if self.complete && !self.view.image().cluster.cluster_id.is_empty() {
            let barrier = self.view.transaction(&self.view.barrier());
            match office.store.commit(leadership, barrier).await {
                Ok(revision) if revision <= self.view.image().revision => {
                    tracing::info!("the store went back, reading the metadata");
                }
                Ok(revision) => {
                    let seen = tokio::time::timeout(CATCH_UP_TIMEOUT, self.see(office, revision)).await;
                    if let Ok(seen) = seen {
                        return seen;
                    }
                    tracing::info!("the watch is behind, reading the metadata");
                }
                Err(CommitError::Conflict) => tracing::info!("the image is behind, reading the metadata"),
                Err(error) => return Err(error.into()),
            }
        }
        self.watch = None;
        self.reload(office).await
    }

    async fn see(&mut self, office: &Office, revision: Revision) -> Result<(), NotReady> {
        while self.view.image().revision < revision {
            self.step(office).await?;
        }
        Ok(())
    }
}
