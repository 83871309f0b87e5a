//! The sessions of all nodes, and the task that fences those whose session is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_proto::grpc::session_response::Response as Answer;
use highwater_proto::metadata::{MetadataImage, NodeRole, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::sessions::{Expired, Patience, Sessions, StreamId};
use crate::cluster::{FenceNode, ForgetNode};
use crate::service::questions::Questions;
use crate::service::registrations::Registrations;
use crate::service::session::{self, Outbox};
use crate::service::{Shared, stalled_nodes, unclean_elections};

/// How often sessions are looked at.
const TICK: Duration = Duration::from_millis(100);
/// A coordinator that was fenced for so long does not come back under its id.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The same in a process that is the whole cluster. Not at once: a node between registration and session has no stream.
const FORGET_LOCAL_AFTER: Duration = Duration::from_secs(5);
/// Turns that this task gives to those that read what nodes say.
const TURNS_TO_HEAR: usize = 3;
/// Process starts that are remembered as replaced.
const SUPERSEDED: usize = 1_024;

/// Sessions and what closes their streams.
pub(crate) struct SessionTable {
    sessions: Mutex<Sessions>,
    streams: Mutex<BTreeMap<StreamId, Stream>>,
    /// What nodes were asked on them.
    pub(crate) questions: Questions,
    /// Nodes that asked to leave and have not been fenced since.
    leaving: Mutex<BTreeSet<(NodeId, BrokerEpoch)>>,
    /// Free and total bytes of disks.
    disks: Mutex<BTreeMap<NodeId, (i64, i64)>>,
    next_stream: AtomicU64,
    /// Something ended that needs no waiting.
    hurry: Notify,
    /// Process starts that were replaced by a later one of the same node, the newest last.
    superseded: Mutex<VecDeque<Uuid>>,
    /// Registrations that have no stream yet.
    pub(crate) registrations: Registrations,
}

/// One stream of a node.
struct Stream {
    /// Ends it from here.
    close: CancellationToken,
    outbox: Outbox,
}

impl SessionTable {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            sessions: Mutex::new(Sessions::new(patience)),
            streams: Mutex::default(),
            questions: Questions::default(),
            leaving: Mutex::default(),
            disks: Mutex::default(),
            next_stream: AtomicU64::new(1),
            hurry: Notify::new(),
            superseded: Mutex::default(),
            registrations: Registrations::default(),
        }
    }

    /// The number of a stream that came; later ones have higher numbers.
    pub(crate) fn next_stream(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// A node registered on a stream. Answers what fires when the stream is to be closed from here; nothing if the node has
    /// a later stream by now.
    pub(crate) fn opened(
        &self,
        node: NodeId,
        epoch: BrokerEpoch,
        id: StreamId,
        outbox: Outbox,
        now: Duration,
    ) -> Option<CancellationToken> {
        let close = CancellationToken::new();
        let earlier = {
            let mut sessions = self.sessions.lock();
            let earlier = sessions.stream(node);
            if earlier.is_some_and(|earlier| earlier > id) {
                return None;
            }
            sessions.opened(node, epoch, id, now);
            earlier
        };
        let mut streams = self.streams.lock();
        let stream = Stream {
            close: close.clone(),
            outbox,
        };
        streams.insert(id, stream);
        if let Some(earlier) = earlier.and_then(|earlier| streams.remove(&earlier)) {
            earlier.close.cancel();
        }
        Some(close)
    }

    /// Says something to a node, without waiting. False if it has no stream, or takes nothing.
    pub(crate) fn tell(&self, node: NodeId, answer: Answer) -> bool {
        let Some(stream) = self.sessions.lock().stream(node) else {
            return false;
        };
        let streams = self.streams.lock();
        let outbox = streams.get(&stream).map(|stream| &stream.outbox);
        outbox.is_some_and(|outbox| session::send(outbox, answer).is_ok())
    }

    /// A later process start of the same node took the place of this one: it does not come back.
    pub(crate) fn supersede(&self, incarnation: Uuid) {
        let mut superseded = self.superseded.lock();
        if superseded.len() == SUPERSEDED {
            superseded.pop_front();
        }
        superseded.push_back(incarnation);
    }

    pub(crate) fn is_superseded(&self, incarnation: Uuid) -> bool {
        self.superseded.lock().contains(&incarnation)
    }

    pub(crate) fn has_stream(&self, node: NodeId) -> bool {
        self.sessions.lock().stream(node).is_some()
    }

    pub(crate) fn may_come_back(&self, node: NodeId) -> bool {
        self.sessions.lock().may_come_back(node)
    }

    pub(crate) fn heard(&self, node: NodeId, stream: StreamId, now: Duration) {
        self.sessions.lock().heard(node, stream, now);
    }

    pub(crate) fn broken(&self, node: NodeId, stream: StreamId, same_process: bool, now: Duration) {
        self.streams.lock().remove(&stream);
        self.sessions.lock().broken(node, stream, same_process, now);
        if same_process {
            self.hurry.notify_one();
        }
    }

    /// The node wants to stop.
    pub(crate) fn leaves(&self, node: NodeId, epoch: BrokerEpoch) {
        self.leaving.lock().insert((node, epoch));
    }

    /// True if every live broker wants to stop.
    pub(crate) fn all_leave(&self, image: &MetadataImage) -> bool {
        let mut leaving = self.leaving.lock();
        leaving.retain(|(node, epoch)| image.live_broker(*node).is_some_and(|known| known.epoch == *epoch));
        let live = image.brokers().filter(|node| node.is_live()).count();
        leaving.len() >= live
    }

    /// A heartbeat told of the node's disk.
    pub(crate) fn report_disk(&self, node: NodeId, free_bytes: i64, total_bytes: i64) {
        self.disks.lock().insert(node, (free_bytes, total_bytes));
    }

    /// Free and total bytes of a node's disk, as it reported last; zero before that.
    pub(crate) fn disk(&self, node: NodeId) -> (i64, i64) {
        self.disks.lock().get(&node).copied().unwrap_or_default()
    }

    /// The node is unknown from now on: this process start of it neither goes on nor comes back.
    pub(crate) fn unregistered(&self, node: NodeId, epoch: BrokerEpoch, incarnation: Uuid) {
        self.supersede(incarnation);
        self.ended(node, epoch);
    }

    fn ended(&self, node: NodeId, epoch: BrokerEpoch) {
        let stream = self.sessions.lock().ended(node, epoch);
        self.close(stream);
    }

    fn not_fenced(&self, node: NodeId, epoch: BrokerEpoch, begun: bool) {
        let stream = self.sessions.lock().not_fenced(node, epoch, begun);
        self.close(stream);
    }

    fn close(&self, stream: Option<StreamId>) {
        if let Some(stream) = stream.and_then(|stream| self.streams.lock().remove(&stream)) {
            stream.close.cancel();
        }
    }
}

/// Nodes that an earlier controller knew as live get a full timeout to come back, if they can.
pub(crate) fn expect_known_nodes(shared: &Shared) {
    let now = shared.clock.now();
    let image = shared.updates.image();
    let mut sessions = shared.sessions.sessions.lock();
    for node in image.nodes.values().filter(|node| node.state != NodeState::Fenced) {
        sessions.expect(node.id, node.epoch, shared.config.sole_process, now);
    }
}

/// Fences nodes whose session is over, and forgets coordinators that do not come back, until the controller stops.
pub(crate) async fn watch_over(shared: &Arc<Shared>) {
    let electing = Arc::clone(shared);
    shared
        .shutdown
        .spawn(async move { unclean_elections::watch_over(&electing).await });
    let relieving = Arc::clone(shared);
    shared
        .shutdown
        .spawn(async move { stalled_nodes::watch_over(&relieving).await });
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fenced_since = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.triggered() => return,
            _ = ticks.tick() => {}
            () = shared.sessions.hurry.notified() => {}
        }
        let now = shared.clock.now();
        // Whatever had arrived by now is heard before anybody is judged by it.
        for _ in 0..TURNS_TO_HEAR {
            tokio::task::yield_now().await;
        }
        let expired = shared.sessions.sessions.lock().expired(now);
        for gone in expired {
            // Apart from this task, whose ticks must not wait for the store.
            let shared = Arc::clone(shared);
            tokio::spawn(async move { fence(&shared, gone).await });
        }
        for forget in forgettable(shared, &mut fenced_since, now) {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                if let Err(error) = shared.decider.decide(forget).await {
                    tracing::debug!(%error, node = %forget.node, "a coordinator is not forgotten yet");
                }
            });
        }
    }
}

async fn fence(shared: &Shared, gone: Expired) {
    let Expired { node, epoch, silent } = gone;
    let reason = if silent {
        "it was silent for too long"
    } else {
        "its session broke"
    };
    let image = shared.updates.image();
    if image.node(node).is_some_and(|known| known.state != NodeState::Fenced) {
        tracing::info!(%node, %epoch, reason, "fencing a node");
    }
    match shared.decider.decide(FenceNode { node, epoch }).await {
        Ok(_) => shared.sessions.ended(node, epoch),
        Err(error) => {
            tracing::warn!(%node, %error, "a node is not fenced yet");
            let image = shared.updates.image();
            let known = image.node(node).filter(|known| known.epoch == epoch);
            shared
                .sessions
                .not_fenced(node, epoch, known.is_some_and(|known| !known.is_live()));
        }
    }
}

/// Coordinators without a session that have been fenced for long; each is named once in that time.
fn forgettable(
    shared: &Shared,
    fenced_since: &mut BTreeMap<(NodeId, BrokerEpoch), Duration>,
    now: Duration,
) -> Vec<ForgetNode> {
    let image = shared.updates.image();
    let coordinators = image
        .nodes
        .values()
        .filter(|node| node.registration.role == NodeRole::Coordinator);
    let fenced = coordinators.filter(|node| node.state == NodeState::Fenced && !shared.sessions.has_stream(node.id));
    let before = std::mem::take(fenced_since);
    let mut old = Vec::new();
    for node in fenced {
        let key = (node.id, node.epoch);
        let since = before.get(&key).copied().unwrap_or(now);
        // A coordinator of this very process is gone for good.
        let wait = if shared.config.sole_process {
            FORGET_LOCAL_AFTER
        } else {
            FORGET_AFTER
        };
        if now.saturating_sub(since) >= wait {
            old.push(ForgetNode {
                node: node.id,
                epoch: node.epoch,
            });
            fenced_since.insert(key, now);
        } else {
            fenced_since.insert(key, since);
        }
    }
    old
}
