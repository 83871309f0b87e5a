//! The handle that the rest of a process has of its tie to the controller.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::Revision;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::session::controllers::Controllers;
use crate::session::{
    Identity, LinkError, LinkOptions, Question, Recovery, Registration, Reply, stream, watch as metadata_watch,
};
use crate::transport::Channel;

/// Questions and answers that may wait.
const QUESTIONS: usize = 64;

/// The part of its time to leave that a node lets the controller wait for others; the rest is for the decision.
const LEAVE_PATIENCE: f64 = 0.75;

/// A node's tie to the controller. Clones share it; it ends when it is closed or the registration is refused.
#[derive(Clone)]
pub struct ControllerLink {
    pub(super) shared: Arc<Shared>,
}

/// What the tasks of the link and its handles share.
pub(super) struct Shared {
    pub(super) options: LinkOptions,
    pub(super) registration: Registration,
    pub(super) controllers: Controllers,
    pub(super) state: watch::Sender<SessionState>,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) image: watch::Sender<Arc<MetadataImage>>,
    pub(super) stop: CancellationToken,
    /// What the controller asks; dropped while nobody takes it.
    pub(super) questions: mpsc::Sender<Question>,
    asked: Mutex<Option<mpsc::Receiver<Question>>>,
    replies: mpsc::Sender<Reply>,
    /// Taken by the stream that stands.
    pub(super) replied: tokio::sync::Mutex<mpsc::Receiver<Reply>>,
}

/// What the controller has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionState {
    /// The stream stands and the node is registered.
    pub(super) connected: bool,
    /// The registration; stays when the stream breaks.
    pub(super) identity: Option<Identity>,
    /// The image at this revision shows the registration.
    pub(super) registered_at: Revision,
    /// The image at this revision shows the node unfenced.
    pub(super) unfenced_at: Option<Revision>,
    /// The node may stop.
    pub(super) may_leave_at: Option<Revision>,
    /// The newest revision that the active controller has spoken of.
    pub(super) newest: Revision,
    /// It is over.
    pub(super) failed: Option<LinkError>,
}

/// What the node wants of its session; said again after each reconnect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) unfence: Option<Recovery>,
    /// How long it may wait for others to catch up.
    pub(super) leave: Option<Duration>,
}

impl ControllerLink {
    /// Starts the session and the watch, and waits until the node is registered and its image shows it. Until then
    /// and later the link reconnects by itself, for as long as it takes.
    ///
    /// # Errors
    /// When the registration is refused, or `stop` is cancelled.
    pub async fn connect(
        options: LinkOptions,
        registration: Registration,
        stop: &CancellationToken,
    ) -> Result<Self, LinkError> {
        let link = Self {
            shared: Arc::new(Shared::new(options, registration, stop.child_token())),
        };
        // Who gives up waiting leaves no session behind.
        let abandoned = link.shared.stop.clone().drop_guard();
        tokio::spawn(stream::run(Arc::clone(&link.shared)));
        tokio::spawn(metadata_watch::run(Arc::clone(&link.shared)));
        let registered_at = link
            .wait_for_state(|state| state.identity.as_ref().map(|_| state.registered_at))
            .await?;
        link.wait_for_image(registered_at).await?;
        abandoned.disarm();
        Ok(link)
    }

    /// Id, epoch and cluster of this node.
    ///
    /// # Errors
    /// `Closed` before the first registration, which nobody sees who got the link from [`Self::connect`].
    pub fn identity(&self) -> Result<Identity, LinkError> {
        self.shared.state.borrow().identity.clone().ok_or(LinkError::Closed)
    }

    /// True while the session stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.state.borrow().connected
    }

    /// The newest image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.shared.image.borrow())
    }

    /// The images as they come; some may be skipped, none goes back.
    #[must_use]
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.shared.image.subscribe()
    }

    /// The first image at or past a revision.
    ///
    /// # Errors
    /// `Timeout`, or that the link is over.
    pub async fn wait_for_revision(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Arc<MetadataImage>, LinkError> {
        within(timeout, self.wait_for_image(revision)).await
    }

    /// A client for admin calls, to the controller that the session is with: the active one. A call fails with
    /// `Unavailable` while there is none.
    #[must_use]
    pub fn admin(&self) -> ControllerClient<Channel> {
        self.shared.client()
    }

    /// Asks to be unfenced: the logs are recovered and the node may lead. Asked again after each reconnect, without
    /// the replicas that were found wanting, which the controller knows by then.
    ///
    /// # Errors
    /// `Timeout` (the wish stands), or that the link is over.
    pub async fn unfence(&self, recovery: Recovery, timeout: Duration) -> Result<Revision, LinkError> {
        self.shared.wanted.send_modify(|wanted| wanted.unfence = Some(recovery));
        within(timeout, self.wait_for_state(|state| state.unfenced_at)).await
    }

    /// Asks to leave and waits until nothing depends on this node any more, or for most of `timeout` where others would
    /// have to catch up first. Call [`Self::close`] afterwards.
    ///
    /// # Errors
    /// `Timeout` (the wish stands), or that the link is over.
    pub async fn leave(&self, timeout: Duration) -> Result<Revision, LinkError> {
        let patience = timeout.mul_f64(LEAVE_PATIENCE);
        self.shared.wanted.send_modify(|wanted| wanted.leave = Some(patience));
        within(timeout, self.wait_for_state(|state| state.may_leave_at)).await
    }

    /// What the controller asks of this node; each is to be answered with [`Self::reply`]. `None` when somebody has
    /// taken them already.
    #[must_use]
    pub fn questions(&self) -> Option<mpsc::Receiver<Question>> {
        self.shared.asked.lock().take()
    }

    /// Answers a question. Lost when too many wait: the controller goes on without it after a while.
    pub fn reply(&self, reply: Reply) {
        if let Err(error) = self.shared.replies.try_send(reply) {
            tracing::warn!(%error, "an answer to the controller was dropped");
        }
    }

    /// Ends the session and the watch at once.
    pub fn close(&self) {
        self.shared.stop.cancel();
    }

    /// Completes when the link is over, with the reason: a process whose registration is refused has to stop.
    pub async fn failed(&self) -> LinkError {
        match self.wait_for_state(|_| None::<()>).await {
            Err(error) => error,
            Ok(()) => LinkError::Closed,
        }
    }

    async fn wait_for_state<T>(&self, wanted: impl Fn(&SessionState) -> Option<T>) -> Result<T, LinkError> {
        let mut states = self.shared.state.subscribe();
        loop {
            {
                let state = states.borrow_and_update();
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                if let Some(value) = wanted(&state) {
                    return Ok(value);
                }
            }
            tokio::select! {
                changed = states.changed() => changed.map_err(|_| LinkError::Closed)?,
                () = self.shared.stop.cancelled() => return Err(self.reason()),
            }
        }
    }

    /// Why the link is over: what failed is noted before the link is closed for it.
    fn reason(&self) -> LinkError {
        self.shared.state.borrow().failed.clone().unwrap_or(LinkError::Closed)
    }

    async fn wait_for_image(&self, revision: Revision) -> Result<Arc<MetadataImage>, LinkError> {
        let mut images = self.shared.image.subscribe();
        let reached = images.wait_for(|image| image.revision >= revision);
        tokio::select! {
            image = reached => image.map(|image| Arc::clone(&image)).map_err(|_| LinkError::Closed),
            error = self.failed() => Err(error),
        }
    }
}

async fn within<T>(timeout: Duration, answer: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or(Err(LinkError::Timeout(timeout)))
}

impl Shared {
    fn new(options: LinkOptions, registration: Registration, stop: CancellationToken) -> Self {
        let controllers = Controllers::new(&options.controllers, options.dialer.clone());
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (replies, replied) = mpsc::channel(QUESTIONS);
        Self {
            options,
            registration,
            controllers,
            state: watch::Sender::default(),
            wanted: watch::Sender::default(),
            image: watch::Sender::default(),
            stop,
            questions,
            asked: Mutex::new(Some(asked)),
            replies,
            replied: tokio::sync::Mutex::new(replied),
        }
    }

    /// A client of the controller that the session is with, or is tried with.
    pub(super) fn client(&self) -> ControllerClient<Channel> {
        self.controllers.client(self.controllers.current())
    }

    /// It is over, for this reason.
    pub(super) fn fail(&self, error: LinkError) {
        tracing::error!(%error, "the tie to the controller is gone");
        self.state.send_modify(|state| {
            state.connected = false;
            state.failed = Some(error);
        });
        self.stop.cancel();
    }
}
