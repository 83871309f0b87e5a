//! The shell around the shards: a task per shard that this coordinator owns, calls to the brokers that lead their
//! partitions, and a supervisor that follows the metadata image.

mod broker_call;
mod brokers;
mod shard_task;
mod supervisor;

use std::collections::HashMap;
use std::sync::Arc;

use highwater_node::clock::Clock;
use highwater_node::telemetry::Trace;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{ShardId, TopicId};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::CoordinatorConfig;
use crate::group::{Now, Request};
use crate::metrics::ShardMetrics;
use crate::shard::{Outcome, ShardState};

pub(crate) use self::brokers::{Brokers, GRPC_LISTENER};
pub(crate) use self::supervisor::supervise;

/// Requests that a shard's task has not taken yet. A full queue is answered with a retriable error.
const INBOX: usize = 8_192;

/// What the tasks of a coordinator share.
pub(crate) struct Runtime {
    pub(crate) config: CoordinatorConfig,
    pub(crate) clock: Clock,
    pub(crate) images: watch::Receiver<Arc<MetadataImage>>,
    pub(crate) brokers: Brokers,
    shards: Mutex<HashMap<ShardId, ShardHandle>>,
    /// Some shard can be served.
    pub(crate) loaded: Notify,
    pub(crate) metrics: ShardMetrics,
}

/// The way to a shard's task.
#[derive(Clone)]
struct ShardHandle {
    inbox: mpsc::Sender<Message>,
    state: watch::Receiver<ShardState>,
    stop: CancellationToken,
}

/// What a shard's task is told.
enum Message {
    Request(Box<Request>, Option<Trace>, oneshot::Sender<Outcome>),
    Offsets(oneshot::Sender<ShardOffsets>),
    Release(oneshot::Sender<()>),
}

/// Members and committed offsets of a shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardOffsets {
    pub(crate) shard: ShardId,
    /// Groups and how many members they have.
    pub(crate) groups: Vec<(Arc<str>, usize)>,
    pub(crate) offsets: Vec<GroupOffset>,
    /// Offsets that are not among them: there are too many.
    pub(crate) left_out: usize,
}

/// A committed offset.
#[derive(Clone, Debug)]
pub(crate) struct GroupOffset {
    pub(crate) group: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Runtime {
    pub(crate) fn new(
        config: CoordinatorConfig,
        clock: Clock,
        images: watch::Receiver<Arc<MetadataImage>>,
        brokers: Brokers,
    ) -> Self {
        Self {
            config,
            clock,
            images,
            brokers,
            shards: Mutex::new(HashMap::new()),
            loaded: Notify::new(),
            metrics: ShardMetrics::new(),
        }
    }

    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.images.borrow())
    }

    fn now(&self) -> Now {
        Now {
            wall: self.clock.now_ms(),
            monotonic: self.clock.now(),
        }
    }

    /// Hands a request to a shard. The reply comes later; a receiver that fails means that the shard has gone.
    pub(crate) fn send(
        &self,
        shard: ShardId,
        request: Request,
        trace: Option<Trace>,
    ) -> Result<oneshot::Receiver<Outcome>, ErrorCode> {
        let shards = self.shards.lock();
        let handle = shards.get(&shard).ok_or(ErrorCode::NotCoordinator)?;
        let (sender, receiver) = oneshot::channel();
        match handle
            .inbox
            .try_send(Message::Request(Box::new(request), trace, sender))
        {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ErrorCode::CoordinatorLoadInProgress),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ErrorCode::NotCoordinator),
        }
    }

    /// Members and offsets of the shards that serve.
    pub(crate) async fn offsets(&self) -> Vec<ShardOffsets> {
        let handles: Vec<_> = self.shards.lock().values().cloned().collect();
        let mut all = Vec::with_capacity(handles.len());
        for handle in handles {
            let (sender, receiver) = oneshot::channel();
            if handle.inbox.send(Message::Offsets(sender)).await.is_ok()
                && let Ok(offsets) = receiver.await
            {
                all.push(offsets);
            }
        }
        all
    }

    /// Hands shards over: they take no more requests, finish what is in flight, and send the parked away.
    pub(crate) async fn release(&self, shards: &[ShardId]) {
        let handles: Vec<_> = {
            let known = self.shards.lock();
            shards.iter().filter_map(|shard| known.get(shard).cloned()).collect()
        };
        let mut released = Vec::with_capacity(handles.len());
        for handle in handles {
            let (sender, receiver) = oneshot::channel();
            if handle.inbox.send(Message::Release(sender)).await.is_ok() {
                released.push(receiver);
            }
        }
        for receiver in released {
            // A task that has ended has nothing in flight either.
            let _ = receiver.await;
        }
    }

    /// The shards that are owned, with what they are doing.
    pub(crate) fn states(&self) -> Vec<(ShardId, ShardState)> {
        self.shards
            .lock()
            .iter()
            .map(|(id, handle)| (*id, *handle.state.borrow()))
            .collect()
    }
}
