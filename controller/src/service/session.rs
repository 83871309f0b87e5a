//! Session: one stream per process start. It registers, is kept alive by whatever it says, and its end is the end of
//! the session.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use grpc::session_request::{Heartbeat, Register, ReplicaRef, Request as Said, Unfence};
use grpc::session_response::{Alive, MayLeave, Refused, Registered, Response as Answer, Unfenced};
use highwater_node::transport::PeerAddress;
use highwater_proto::grpc;
use highwater_proto::metadata::convert::{self, ConvertError};
use highwater_proto::metadata::{MetadataImage, Node, NodeDisk, NodeRegistration, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId, TopicPartition};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use crate::cluster::sessions::StreamId;
use crate::cluster::stalls::Stalls;
use crate::cluster::{
    DistrustedReplicas, LeaveNode, Leaving, RegisterNode, ReportDisk, UnfenceNode, move_leaders, register_node,
};
use crate::service::Shared;
use crate::service::hand_over::{Unready, hand_over};
use crate::service::registrations::Claim;
use crate::service::restored;
use crate::service::rpc::{Answers, malformed};

/// Answers that wait for a slow node.
const OUTBOX: usize = 64;
/// Requests of one node that wait for the one before.
const BACKLOG: usize = 8;

/// Where answers to a node wait.
pub(super) type Outbox = mpsc::Sender<Result<grpc::SessionResponse, Status>>;
type Work<'a> = Pin<Box<dyn Future<Output = Result<Option<Answer>, Status>> + Send + 'a>>;

pub(super) fn handle(
    shared: &Arc<Shared>,
    request: Request<Streaming<grpc::SessionRequest>>,
) -> Result<Answers<grpc::SessionResponse>, Status> {
    let same_process = matches!(request.extensions().get::<PeerAddress>(), Some(PeerAddress::Memory));
    let inbox = request.into_inner();
    let (outbox, answers) = mpsc::channel(OUTBOX);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(status) = run(&shared, inbox, &outbox, same_process).await {
            tracing::debug!(%status, "a session ended");
            // The other end may be gone already.
            let _ = outbox.try_send(Err(status));
        }
    });
    Ok(Box::pin(ReceiverStream::new(answers)))
}

async fn run(
    shared: &Shared,
    mut inbox: Streaming<grpc::SessionRequest>,
    outbox: &Outbox,
    same_process: bool,
) -> Result<(), Status> {
    let stop = shared.shutdown.token();
    let stopping = || Status::unavailable("the controller stops");
    let first = tokio::select! {
        first = tokio::time::timeout(shared.config.patience.silence, inbox.message()) => {
            first.map_err(|_| Status::deadline_exceeded("no registration came"))??
        }
        () = stop.cancelled() => return Err(stopping()),
    };
    let Some(grpc::SessionRequest {
        request: Some(Said::Register(register)),
    }) = first
    else {
        return Err(Status::invalid_argument("a session begins with a registration"));
    };
    let registered = tokio::select! {
        registered = open(shared, register, outbox) => registered?,
        () = stop.cancelled() => return Err(stopping()),
    };
    let mut session = match registered {
        Ok(session) => session,
        Err(reason) => {
            tracing::warn!(reason, "a registration was refused");
            return send(outbox, Answer::Refused(Refused { reason }));
        }
    };
    send(outbox, session.welcome())?;
    let close = session.close.clone();
    let end = tokio::select! {
        end = session.serve(shared, &mut inbox, outbox) => end,
        () = close.cancelled() => Err(why_closed(shared, session.node, session.epoch)),
        () = stop.cancelled() => Err(stopping()),
    };
    shared
        .sessions
        .broken(session.node, session.stream, same_process, shared.clock.now());
    end
}

/// A registered node on its stream.
struct Session {
    node: NodeId,
    epoch: BrokerEpoch,
    stream: StreamId,
    close: CancellationToken,
    cluster_id: String,
    revision: i64,
    /// When it asked to leave.
    leaving_since: Option<Duration>,
    /// What its last heartbeat said of its disk.
    disk: NodeDisk,
    stalls: Stalls,
}

/// Registers; the inner error is the text of a refusal for good.
async fn open(shared: &Shared, register: Register, outbox: &Outbox) -> Result<Result<Session, String>, Status> {
    // Numbered in the order in which they come, whatever one waits for.
    let stream = shared.sessions.next_stream();
    restored::check(shared, &register).await?;
    let registration: NodeRegistration = register
        .registration
        .clone()
        .ok_or(ConvertError::Missing("registration"))
        .and_then(TryInto::try_into)
        .map_err(malformed)?;
    let clean_shutdown = register.clean_shutdown;
    let begun = shared.sessions.registrations.begin(
        || claim(shared, &register, &registration),
        || Denied::ForNow("another process registers as this node".to_owned()),
    );
    let (_under_way, earlier) = match begun {
        Ok(begun) => begun,
        Err(Denied::ForGood(reason)) => return Ok(Err(reason)),
        Err(Denied::ForNow(reason)) => return Err(Status::unavailable(reason)),
    };
    let command = RegisterNode {
        node_id: register.node_id.map(NodeId),
        cluster_id: register.cluster_id,
        registration,
    };
    let decided = shared.decided(command).await?;
    let registered = match decided.reply {
        Ok(registered) => registered,
        Err(refused) => return Ok(Err(refused.to_string())),
    };
    let node = registered.node;
    let epoch = registered
        .epoch
        .or_else(|| decided.image.node(node).map(|known| known.epoch));
    let epoch = epoch.ok_or_else(|| Status::aborted("the registration is gone again"))?;
    if let Some(earlier) = earlier {
        shared.sessions.supersede(earlier);
    }
    let disk = decided
        .image
        .node(node)
        .map_or_else(NodeDisk::default, |node| node.disk);
    let opened = shared
        .sessions
        .opened(node, epoch, stream, outbox.clone(), shared.clock.now());
    let close = opened.ok_or_else(|| Status::aborted("the node has opened another session"))?;
    tracing::info!(%node, %epoch, clean_shutdown, "a node registered");
    let cluster_id = decided.image.cluster.cluster_id.clone();
    let revision = decided.image.revision.get();
    Ok(Ok(Session {
        node,
        epoch,
        stream,
        close,
        cluster_id,
        revision,
        leaving_since: None,
        disk,
        stalls: Stalls::new(shared.config.settings.disk_stall, disk.stalled),
    }))
}

/// Why a process start may not register.
enum Denied {
    /// It stops.
    ForGood(String),
    /// It tries again.
    ForNow(String),
}

/// Who this is, and the process start of the same node that it would take over from.
fn claim(
    shared: &Shared,
    register: &Register,
    registration: &NodeRegistration,
) -> Result<(Claim, Option<Uuid>), Denied> {
    let image = shared.updates.image();
    let (id, incarnation) = (register.node_id.map(NodeId), registration.incarnation);
    // Whatever controller had registered the later one.
    let superseded =
        id.is_some_and(|id| register_node::is_superseded(&image, id, incarnation, BrokerEpoch(register.epoch)));
    if superseded || shared.sessions.is_superseded(incarnation) {
        let reason = "a later process start of this node has taken its place";
        return Err(Denied::ForGood(reason.to_owned()));
    }
    let known = known_node(&image, id, registration.directory_id);
    let earlier = known.filter(|known| known.registration.incarnation != incarnation);
    if let Some(earlier) = earlier {
        let node = earlier.id;
        if shared.sessions.has_stream(node) {
            let reason = format!("node {node} has a session with another process");
            return Err(Denied::ForNow(reason));
        }
        // With another directory all that the node stores is given up: not while the process that has it may come back.
        let emptied = earlier.registration.directory_id != registration.directory_id;
        if emptied && shared.sessions.may_come_back(node) {
            let reason = format!("another process of node {node}, with another directory, may come back");
            return Err(Denied::ForNow(reason));
        }
    }
    let claim = Claim {
        incarnation,
        role: registration.role,
        directory: registration.directory_id,
        node: id.or(known.map(|known| known.id)),
        is_known: known.is_some(),
    };
    Ok((claim, earlier.map(|earlier| earlier.registration.incarnation)))
}

/// The node of this id, or else the one that had this directory.
fn known_node(image: &MetadataImage, id: Option<NodeId>, directory: Uuid) -> Option<&Node> {
    let by_directory = || {
        let mut nodes = image.nodes.values();
        nodes.find(|node| !directory.is_nil() && node.registration.directory_id == directory)
    };
    id.map_or_else(by_directory, |id| image.nodes.get(&id))
        .map(|node| &**node)
}

impl Session {
    fn welcome(&self) -> Answer {
        Answer::Registered(Registered {
            node_id: self.node.get(),
            epoch: self.epoch.get(),
            cluster_id: self.cluster_id.clone(),
            revision: self.revision,
        })
    }

    /// Hears and answers until the stream ends. One request is at work at a time, but the node is heard all the while.
    async fn serve(
        &mut self,
        shared: &Shared,
        inbox: &mut Streaming<grpc::SessionRequest>,
        outbox: &Outbox,
    ) -> Result<(), Status> {
        let mut backlog: VecDeque<Said> = VecDeque::new();
        let idle = || -> Work<'_> { Box::pin(std::future::pending()) };
        let (mut work, mut busy) = (idle(), false);
        loop {
            if !busy && let Some(said) = backlog.pop_front() {
                (work, busy) = (self.work(shared, said)?, true);
            }
            tokio::select! {
                message = inbox.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    shared.sessions.heard(self.node, self.stream, shared.clock.now());
                    match message.request {
                        Some(Said::Heartbeat(heartbeat)) => {
                            send(outbox, Answer::Alive(Alive { revision: shared.updates.image().revision.get() }))?;
                            self.look_at_disk(&heartbeat, shared.clock.now());
                            shared.sessions.report_disk(self.node, heartbeat.disk_free_bytes, heartbeat.disk_total_bytes);
                            if self.disk_report().is_news(&shared.updates.image()) && backlog.is_empty() {
                                backlog.push_back(Said::Heartbeat(heartbeat));
                            }
                        }
                        Some(Said::LogEnds(ends)) => {
                            let question = ends.question;
                            shared.sessions.questions.answered(self.node, question, Said::LogEnds(ends));
                        }
                        Some(Said::HandedOver(ready)) => {
                            let question = ready.question;
                            shared.sessions.questions.answered(self.node, question, Said::HandedOver(ready));
                        }
                        Some(Said::Released(released)) => {
                            let question = released.question;
                            shared.sessions.questions.answered(self.node, question, Said::Released(released));
                        }
                        Some(Said::ReplicaSizes(sizes)) => {
                            let question = sizes.question;
                            shared.sessions.questions.answered(self.node, question, Said::ReplicaSizes(sizes));
                        }
                        Some(Said::Retired(retired)) => {
                            let question = retired.question;
                            shared.sessions.questions.answered(self.node, question, Said::Retired(retired));
                        }
                        Some(Said::Register(_)) | None => {
                            return Err(Status::invalid_argument("a session has one registration"));
                        }
                        Some(said) if backlog.len() < BACKLOG => backlog.push_back(said),
                        Some(_) => return Err(Status::resource_exhausted("too many requests on one session")),
                    }
                }
                answer = &mut work, if busy => {
                    (work, busy) = (idle(), false);
                    if let Some(answer) = answer? {
                        send(outbox, answer)?;
                    }
                }
            }
        }
    }

    fn work<'a>(&mut self, shared: &'a Shared, said: Said) -> Result<Work<'a>, Status> {
        let (node, epoch) = (self.node, self.epoch);
        Ok(match said {
            Said::Unfence(request) => {
                let replicas = distrusted(request)?;
                Box::pin(unfence(shared, UnfenceNode { node, epoch, replicas }))
            }
            Said::Leave(asked) => {
                let now = shared.clock.now();
                let since = *self.leaving_since.get_or_insert(now);
                let waited = now.saturating_sub(since) >= ms(asked.wait_ms);
                shared.sessions.leaves(node, epoch);
                // Nobody stays that others could be waited for.
                let now = waited || shared.sessions.all_leave(&shared.updates.image());
                Box::pin(leave(shared, LeaveNode { node, epoch, now }))
            }
            Said::Heartbeat(_) => {
                let report = self.disk_report();
                Box::pin(async move {
                    // The next heartbeat says it again; the session goes on also while the store takes nothing.
                    if let Err(status) = shared.decided(report).await {
                        tracing::debug!(%node, %status, "what a heartbeat said of a disk was not committed");
                    }
                    Ok(None)
                })
            }
            // Registrations come first, answers to questions are taken as they come.
            Said::Register(_)
            | Said::LogEnds(_)
            | Said::HandedOver(_)
            | Said::Released(_)
            | Said::ReplicaSizes(_)
            | Said::Retired(_) => Box::pin(std::future::ready(Ok(None))),
        })
    }
}

impl Session {
    fn look_at_disk(&mut self, heartbeat: &Heartbeat, now: Duration) {
        let flush = ms(heartbeat.oldest_unfinished_flush_ms);
        let worker = ms(heartbeat.longest_worker_stall_ms);
        let stalled = self.stalls.heard(flush, worker, now);
        if stalled && !self.disk.stalled {
            tracing::warn!(node = %self.node, ?flush, ?worker, "a node stalls");
        }
        self.disk = NodeDisk {
            pressure: heartbeat.disk_pressure().into(),
            tenths: convert::tenths(heartbeat.disk_tenths),
            stalled,
        };
    }

    fn disk_report(&self) -> ReportDisk {
        ReportDisk {
            node: self.node,
            epoch: self.epoch,
            disk: self.disk,
        }
    }
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Why the controller closed a stream.
fn why_closed(shared: &Shared, node: NodeId, epoch: BrokerEpoch) -> Status {
    let image = shared.updates.image();
    match image.node(node) {
        Some(known) if known.epoch == epoch && known.state == NodeState::Fenced => {
            Status::unavailable("the node was fenced after a silence")
        }
        Some(known) if known.epoch == epoch => Status::unavailable("the node opened another session"),
        _ => Status::failed_precondition("another process registered as this node"),
    }
}

async fn unfence(shared: &Shared, command: UnfenceNode) -> Result<Option<Answer>, Status> {
    let node = command.node;
    let decided = shared.decided(command).await?;
    decided.reply.map_err(|refusal| Status::unavailable(refusal.message))?;
    tracing::info!(%node, "a node is live");
    Ok(Some(Answer::Unfenced(Unfenced {
        revision: decided.image.revision.get(),
    })))
}

async fn leave(shared: &Shared, command: LeaveNode) -> Result<Option<Answer>, Status> {
    let node = command.node;
    let image = shared.updates.image();
    let leaves = image
        .live_broker(node)
        .is_some_and(|known| known.epoch == command.epoch);
    if leaves {
        let moves = move_leaders::successors(&image, &shared.config.settings, node);
        hand_over(shared, moves, Unready::Moves)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
    }
    let decided = shared.decided(command).await?;
    match decided.reply.map_err(|refusal| Status::unavailable(refusal.message))? {
        Leaving::Done => {
            tracing::info!(%node, "a node may leave");
            Ok(Some(Answer::MayLeave(MayLeave {
                revision: decided.image.revision.get(),
            })))
        }
        // The node asks again.
        Leaving::Waiting(partitions) => {
            tracing::debug!(%node, partitions, "a node waits for other replicas before it leaves");
            Ok(None)
        }
    }
}

fn distrusted(request: Unfence) -> Result<DistrustedReplicas, Status> {
    let replica = |replica: ReplicaRef| {
        Ok(TopicPartition {
            topic_id: convert::topic_id(&replica.topic_id)?,
            partition: convert::partition_index(replica.partition)?,
        })
    };
    let set = |replicas: Vec<ReplicaRef>| {
        replicas
            .into_iter()
            .map(replica)
            .collect::<Result<BTreeSet<_>, ConvertError>>()
            .map_err(malformed)
    };
    Ok(DistrustedReplicas {
        short: set(request.short)?,
        missing: set(request.missing)?,
        offline: set(request.offline)?,
        untrusted: set(request.untrusted)?,
    })
}

/// Sends without waiting: a node that does not take its answers is treated as gone.
pub(super) fn send(outbox: &Outbox, answer: Answer) -> Result<(), Status> {
    let response = grpc::SessionResponse { response: Some(answer) };
    outbox
        .try_send(Ok(response))
        .map_err(|_| Status::resource_exhausted("the node takes no answers"))
}
