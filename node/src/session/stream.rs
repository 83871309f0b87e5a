//! The session stream: registers, keeps alive, carries wishes, and comes back when it breaks.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::grpc;
use highwater_proto::grpc::session_request::{Heartbeat, Leave, Register, Request as Said, Unfence};
use highwater_proto::grpc::session_response::Response as Heard;
use highwater_proto::metadata::NodeRole;
use highwater_proto::metadata::convert::ConvertError;
use highwater_proto::types::{BrokerEpoch, NodeId, Revision, TopicPartition};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::session::controllers::named_active_controller;
use crate::session::link::{Shared, Wanted};
use crate::session::questions::replica;
use crate::session::{Backoff, Identity, LinkError, Question, Recovery};

/// Messages to the controller that wait to be sent.
const OUTBOX: usize = 16;
/// Heartbeats per session timeout, and those that stay unanswered before a controller counts as silent.
const HEARTBEATS_PER_TIMEOUT: u32 = 5;
const HEARTBEATS_UNTIL_SILENT: u32 = 2;
/// How long a controller may take to open the stream. One that is stopped still accepts connections: the next one has to
/// be reached before a new active controller fences those that have not come.
const OPEN_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Least time that a registration may take: an earlier incarnation of this node is fenced completely first.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses between attempts. The first is short: the grace for a broken stream is half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How a session ended.
enum End {
    /// Before the node was registered: to be tried elsewhere.
    Unregistered { reason: String },
    /// To be tried again, and elsewhere if the controller had been silent.
    Broken { silent: bool, reason: String },
    /// This controller does not decide; the one at this address does.
    Standby { host: String, port: u16 },
    /// For good.
    Fatal(LinkError),
}

/// Keeps a session up until the link is over.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = String::new();
    loop {
        let end = tokio::select! {
            end = Session::run(&shared) => end,
            () = shared.stop.cancelled() => break,
        };
        shared.state.send_modify(|state| state.connected = false);
        match end {
            End::Fatal(error) => return shared.fail(error),
            End::Broken { silent, reason } => {
                tracing::warn!(%reason, silent, "session with the controller broke, reconnecting");
                backoff.reset();
                if silent {
                    shared.controllers.try_next();
                }
            }
            End::Unregistered { reason } => {
                if reason == told {
                    tracing::debug!(%reason, "no session with this controller");
                } else {
                    tracing::info!(%reason, "no session with this controller; trying again");
                }
                told = reason;
                shared.controllers.try_next();
            }
            End::Standby { host, port } => {
                tracing::debug!(host, port, "following to the active controller");
                shared.controllers.follow(&host, port);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = shared.stop.cancelled() => break,
        }
    }
    shared.state.send_modify(|state| state.connected = false);
}

/// One stream.
struct Session<'a> {
    shared: &'a Shared,
    outbox: mpsc::Sender<grpc::SessionRequest>,
    inbox: Streaming<grpc::SessionResponse>,
    /// What was said on this stream.
    said: Wanted,
}

impl<'a> Session<'a> {
    async fn run(shared: &'a Shared) -> End {
        let broken = |reason: String| End::Unregistered { reason };
        let mut session = match tokio::time::timeout(OPEN_TIMEOUT, Self::open(shared)).await {
            Ok(Ok(session)) => session,
            Ok(Err(status)) => {
                return match named_active_controller(&status) {
                    Some((host, port)) => End::Standby { host, port },
                    None => broken(status.message().to_owned()),
                };
            }
            Err(_) => return broken(format!("no session within {OPEN_TIMEOUT:?}")),
        };
        let timeout = REGISTER_TIMEOUT.max(shared.options.session.timeout * 2);
        let registered = match tokio::time::timeout(timeout, session.registered()).await {
            Ok(registered) => registered,
            Err(_) => return broken(format!("no answer to the registration within {timeout:?}")),
        };
        match registered {
            Ok(()) => session.keep_alive().await,
            Err(end) => end,
        }
    }

    async fn open(shared: &'a Shared) -> Result<Self, tonic::Status> {
        let (outbox, requests) = mpsc::channel(OUTBOX);
        let register = request(Said::Register(register(shared)));
        // The channel is empty and open.
        let _ = outbox.try_send(register);
        let inbox = shared
            .client()
            .session(ReceiverStream::new(requests))
            .await?
            .into_inner();
        Ok(Self {
            shared,
            outbox,
            inbox,
            said: Wanted::default(),
        })
    }

    /// Waits for the answer to the registration.
    async fn registered(&mut self) -> Result<(), End> {
        let broken = |reason: String| End::Unregistered { reason };
        loop {
            match self
                .inbox
                .message()
                .await
                .map_err(|status| broken(status.message().to_owned()))?
            {
                None => return Err(broken("the controller ended the session".to_owned())),
                Some(grpc::SessionResponse {
                    response: Some(Heard::Registered(registered)),
                }) => {
                    return self.accept(&registered);
                }
                Some(grpc::SessionResponse {
                    response: Some(Heard::Refused(refused)),
                }) => {
                    return Err(End::Fatal(LinkError::Refused(refused.reason)));
                }
                // Not an answer to the registration.
                Some(_) => {}
            }
        }
    }

    fn accept(&self, registered: &grpc::session_response::Registered) -> Result<(), End> {
        let identity = Identity {
            node_id: NodeId(registered.node_id),
            epoch: BrokerEpoch(registered.epoch),
            cluster_id: registered.cluster_id.clone(),
        };
        let known = self.shared.state.borrow().identity.clone();
        let wanted = &self.shared.registration;
        let cluster_id = known
            .as_ref()
            .map_or(wanted.cluster_id.as_str(), |known| &known.cluster_id);
        if !cluster_id.is_empty() && identity.cluster_id != cluster_id {
            let reason = format!(
                "it serves cluster {}, this node is of cluster {cluster_id}",
                identity.cluster_id
            );
            return Err(End::Fatal(LinkError::Mismatch(reason)));
        }
        let node_id = known.as_ref().map(|known| known.node_id).or(wanted.node_id);
        if let Some(node_id) = node_id.filter(|node_id| *node_id != identity.node_id) {
            let reason = format!("it registered node {} as node {}", node_id, identity.node_id);
            return Err(End::Fatal(LinkError::Mismatch(reason)));
        }
        // What a broker has sent and stored goes by its epoch. A store that gives it another one was restored to a time
        // before it registered, or has forgotten it.
        let is_broker = wanted.node.role == NodeRole::Broker;
        if let Some(known) = known.filter(|known| is_broker && known.epoch != identity.epoch) {
            let reason = format!(
                "it knows nothing of this process start and registered it anew, with epoch {} in place of {}: the process has to start again",
                identity.epoch, known.epoch
            );
            return Err(End::Fatal(LinkError::Mismatch(reason)));
        }
        tracing::info!(node = %identity.node_id, epoch = %identity.epoch, cluster = identity.cluster_id, "registered");
        self.shared.state.send_modify(|state| {
            state.connected = true;
            // Has to be granted again: the node may have been fenced meanwhile.
            state.unfenced_at = None;
            state.identity = Some(identity);
            state.registered_at = Revision(registered.revision);
            state.newest = Revision(registered.revision);
        });
        Ok(())
    }

    /// Heartbeats and wishes until the stream breaks or the controller is silent for too long.
    async fn keep_alive(&mut self) -> End {
        let timeout = self.shared.options.session.timeout;
        let mut wanted = self.shared.wanted.subscribe();
        let mut replied = self.shared.replied.lock().await;
        let interval = timeout / HEARTBEATS_PER_TIMEOUT;
        let mut heartbeats = tokio::time::interval(interval);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        // A connection that ends because pings are not answered is one of a silent controller, too.
        let broken = |heard_at: Instant, reason: String| End::Broken {
            silent: heard_at.elapsed() > interval * HEARTBEATS_UNTIL_SILENT,
            reason,
        };
        loop {
            tokio::select! {
                heard = self.inbox.message() => match heard {
                    Ok(Some(heard)) => {
                        heard_at = Instant::now();
                        if let Some(fatal) = self.hear(heard) {
                            return End::Fatal(fatal);
                        }
                    }
                    Ok(None) => return broken(heard_at, "the controller ended the session".to_owned()),
                    Err(status) => return broken(heard_at, status.message().to_owned()),
                },
                _ = heartbeats.tick() => {
                    self.say(Said::Heartbeat(self.heartbeat()));
                    // Asked again until it is granted: the controller may have found that others are not ready yet.
                    self.said.leave = None;
                    let wishes = wanted.borrow().clone();
                    self.say_wishes(&wishes);
                }
                Some(reply) = replied.recv() => {
                    self.say(reply.into());
                }
                Ok(()) = wanted.changed() => {
                    let wishes = wanted.borrow_and_update().clone();
                    self.say_wishes(&wishes);
                }
                () = tokio::time::sleep_until(heard_at + timeout) => {
                    return broken(heard_at, format!("no sign of life from the controller within {timeout:?}"));
                }
            }
        }
    }

    fn hear(&self, heard: grpc::SessionResponse) -> Option<LinkError> {
        let state = &self.shared.state;
        match heard.response {
            Some(Heard::Refused(refused)) => return Some(LinkError::Refused(refused.reason)),
            Some(Heard::Unfenced(unfenced)) => {
                // From now on the controller knows what was found wanting, and may have learned that it was repaired:
                // later reconnects do not say it again.
                self.shared.wanted.send_if_modified(|wanted| {
                    if let Some(recovery) = &mut wanted.unfence {
                        *recovery = Recovery::default();
                    }
                    false
                });
                state.send_modify(|state| state.unfenced_at = Some(Revision(unfenced.revision)));
            }
            Some(Heard::MayLeave(may_leave)) => {
                state.send_modify(|state| state.may_leave_at = Some(Revision(may_leave.revision)));
            }
            Some(Heard::Release(ask)) => self.ask(ask.try_into()),
            Some(Heard::AskLogEnds(ask)) => self.ask(ask.try_into()),
            Some(Heard::HandOver(ask)) => self.ask(ask.try_into()),
            Some(Heard::Keep(keep)) => self.ask(keep.try_into()),
            Some(Heard::AskReplicaSizes(ask)) => self.ask(ask.try_into()),
            Some(Heard::Retire(ask)) => self.ask(Ok(ask.into())),
            Some(Heard::Alive(alive)) => {
                // Wakes nobody if nothing is new.
                let newest = Revision(alive.revision);
                state.send_if_modified(|state| newest > std::mem::replace(&mut state.newest, newest));
            }
            Some(Heard::Registered(_)) | None => {}
        }
        None
    }

    /// Hands a question to whoever answers; a full queue drops it, and the controller goes on without an answer.
    fn ask(&self, question: Result<Question, ConvertError>) {
        match question {
            Ok(question) => {
                if let Err(error) = self.shared.questions.try_send(question) {
                    tracing::warn!(%error, "a question of the controller was not taken up");
                }
            }
            Err(error) => tracing::warn!(%error, "a question of the controller cannot be read"),
        }
    }

    fn say_wishes(&mut self, wanted: &Wanted) {
        if let Some(recovery) = &wanted.unfence
            && self.said.unfence.is_none()
            && self.say(Said::Unfence(unfence(recovery)))
        {
            self.said.unfence = Some(recovery.clone());
        }
        let waits = self.shared.state.borrow().may_leave_at.is_none();
        if let Some(patience) = wanted.leave
            && self.said.leave.is_none()
            && waits
        {
            let wait_ms = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
            if self.say(Said::Leave(Leave { wait_ms })) {
                self.said.leave = Some(patience);
            }
        }
    }

    /// Answers false when the controller takes nothing at present; its silence then ends the session.
    fn say(&self, said: Said) -> bool {
        self.outbox.try_send(request(said)).is_ok()
    }

    fn heartbeat(&self) -> Heartbeat {
        let status = (self.shared.options.status)();
        let received = self.shared.image.borrow().revision;
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let flush_ms = status.oldest_unfinished_flush.as_millis();
        let stall_ms = status.longest_worker_stall.as_millis();
        Heartbeat {
            applied_revision: status.applied_revision.unwrap_or(received).get(),
            disk_free_bytes: number(status.disk_free_bytes),
            disk_total_bytes: number(status.disk_total_bytes),
            oldest_unfinished_flush_ms: i64::try_from(flush_ms).unwrap_or(i64::MAX),
            longest_worker_stall_ms: i64::try_from(stall_ms).unwrap_or(i64::MAX),
            disk_pressure: grpc::DiskPressureKind::from(status.disk_pressure).into(),
            disk_tenths: status.disk_tenths.into(),
        }
    }
}

fn request(said: Said) -> grpc::SessionRequest {
    grpc::SessionRequest { request: Some(said) }
}

/// Says the id and the cluster that were given at the first registration, once they are known.
fn register(shared: &Shared) -> Register {
    let registration = &shared.registration;
    let image = Arc::clone(&shared.image.borrow());
    let identity = shared.state.borrow().identity.clone();
    let node_id = identity
        .as_ref()
        .map(|identity| identity.node_id)
        .or(registration.node_id);
    let epoch = identity.as_ref().map_or(0, |identity| identity.epoch.get());
    let (generation, revision) = image.position().max(registration.seen);
    Register {
        node_id: node_id.map(NodeId::get),
        cluster_id: identity.map_or_else(|| registration.cluster_id.clone(), |identity| identity.cluster_id),
        registration: Some((&registration.node).into()),
        clean_shutdown: registration.clean_shutdown,
        generation,
        revision: revision.get(),
        epoch,
    }
}

fn unfence(recovery: &Recovery) -> Unfence {
    let replicas = |replicas: &[TopicPartition]| replicas.iter().map(replica).collect();
    Unfence {
        short: replicas(&recovery.short),
        missing: replicas(&recovery.missing),
        offline: replicas(&recovery.offline),
        untrusted: replicas(&recovery.untrusted),
    }
}
