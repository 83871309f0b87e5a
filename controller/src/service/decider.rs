//! How commands get to the active controller, and their answers back.

use std::sync::Arc;

use highwater_node::telemetry::Trace;
use highwater_proto::metadata::MetadataImage;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Command, Settings, Step};

/// Commands that may wait; beyond that callers are refused.
const QUEUE: usize = 1_024;

/// Commands that wait for the active controller.
pub(crate) type Jobs = mpsc::Receiver<Box<dyn Job>>;

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
    /// A queue and its end.
    pub(crate) fn new() -> (Self, Jobs) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        (Self { queue }, jobs)
    }

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
            trace: Trace::current(),
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
pub(crate) trait Job: Send {
    /// The span that the command is part of, if that is followed.
    fn trace(&self) -> Option<&Trace>;
    /// Decides, and keeps the reply until the steps are committed.
    fn decide(&mut self, image: &MetadataImage, settings: &Settings) -> Vec<Step>;
    /// Answers whoever asked.
    fn answer(self: Box<Self>, outcome: Result<Arc<MetadataImage>, DecisionError>);
}

struct Pending<C: Command> {
    command: C,
    reply: Option<C::Reply>,
    trace: Option<Trace>,
    answer: oneshot::Sender<Result<Decided<C::Reply>, DecisionError>>,
}

impl<C> Job for Pending<C>
where
    C: Command + Send,
    C::Reply: Send,
{
    fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

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
