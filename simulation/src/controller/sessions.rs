//! The controller's side of sessions: one stream per process start; its end is the end of the session.

use highwater_controller::cluster::sessions::StreamId;
use highwater_controller::cluster::{
    AlterPartitions, AlteredPartition, DistrustedReplicas, FenceNode, LeaveNode, Leaving, RegisterNode, Registered,
    RegistrationRefused, UnfenceNode,
};
use highwater_proto::types::TopicPartition;

use super::work::{Active, Job};
use crate::broker::Registration;
use crate::message::{Altered, Message, Said, Told};
use crate::network::{ConnectionId, Peer};
use crate::world::World;

impl World {
    /// A broker said something on its stream.
    pub(crate) fn said(&mut self, controller: usize, connection: ConnectionId, said: Said) {
        let now = self.now;
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        if let Said::Register(registration) = said {
            return self.wants_to_register(controller, connection, registration);
        }
        let Some((node, stream)) = active.stream_of(connection) else {
            return;
        };
        active.sessions.heard(node, stream, now);
        let Some(epoch) = active.image.node(node).map(|node| node.epoch) else {
            return;
        };
        match said {
            Said::Unfence { untrusted } => {
                let replicas = DistrustedReplicas {
                    untrusted: untrusted.into_iter().collect(),
                    ..DistrustedReplicas::default()
                };
                let command = UnfenceNode { node, epoch, replicas };
                active.jobs.push_back(Job::Unfence(connection, command));
            }
            Said::Leave { now } => {
                active
                    .jobs
                    .push_back(Job::Leave(connection, LeaveNode { node, epoch, now }));
            }
            Said::Register(_) => {}
        }
    }

    fn wants_to_register(&mut self, controller: usize, connection: ConnectionId, registration: Registration) {
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        let Registration { node, registration } = registration;
        let incarnation = registration.incarnation;
        let other = active
            .image
            .node(node)
            .map(|known| known.registration.incarnation)
            .filter(|known| *known != incarnation);
        // A live session blocks another incarnation of its id until it is fenced.
        if other.is_some() && active.sessions.stream(node).is_some() || active.superseded.contains(&incarnation) {
            return self.network.close(connection, Peer::Controller(controller));
        }
        let command = RegisterNode {
            node_id: Some(node),
            cluster_id: String::new(),
            registration,
        };
        active.jobs.push_back(Job::Register(connection, command));
    }

    pub(super) fn registered(
        &mut self,
        controller: usize,
        connection: ConnectionId,
        command: &RegisterNode,
        reply: Result<Registered, RegistrationRefused>,
    ) {
        let (me, now) = (Peer::Controller(controller), self.now);
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        let registered = match reply {
            Ok(registered) => registered,
            Err(refused) => {
                return self.network.send(connection, me, Message::Told(Told::Refused(refused)));
            }
        };
        let Some(node) = active.image.node(registered.node).cloned() else {
            return;
        };
        if node.registration.incarnation != command.registration.incarnation {
            return self.network.close(connection, me);
        }
        active.next_stream += 1;
        let stream = StreamId(active.next_stream);
        active.sessions.opened(node.id, node.epoch, stream, now);
        let replaced = active.streams.insert(node.id, (stream, connection));
        if active.gone.remove(&connection) {
            active.sessions.broken(node.id, stream, false, now);
        }
        let revision = active.image.revision;
        if let Some((_, replaced)) = replaced.filter(|(_, replaced)| *replaced != connection) {
            self.network.close(replaced, me);
        }
        let epoch = registered.epoch.unwrap_or(node.epoch);
        self.network
            .send(connection, me, Message::Told(Told::Registered { epoch, revision }));
    }

    pub(super) fn unfenced(&mut self, controller: usize, connection: ConnectionId, ok: bool) {
        let me = Peer::Controller(controller);
        if ok {
            self.network.send(connection, me, Message::Told(Told::Unfenced));
        } else {
            self.stream_closed(controller, connection);
            self.network.close(connection, me);
        }
    }

    pub(super) fn left(&mut self, controller: usize, connection: ConnectionId, leaving: Option<Leaving>) {
        if leaving == Some(Leaving::Done) {
            let me = Peer::Controller(controller);
            self.network.send(connection, me, Message::Told(Told::MayLeave));
        }
    }

    /// A stream broke, or a request's connection did.
    pub(crate) fn stream_closed(&mut self, controller: usize, connection: ConnectionId) {
        let now = self.now;
        let Some(active) = &mut self.controllers[controller].active else {
            return;
        };
        match active.stream_of(connection) {
            Some((node, stream)) => active.sessions.broken(node, stream, false, now),
            None => {
                active.gone.insert(connection);
            }
        }
    }

    pub(crate) fn alter_asked(&mut self, controller: usize, connection: ConnectionId, request: AlterPartitions) {
        // A request may reach the controller twice.
        let twice = self.random.one_in(12);
        if let Some(active) = &mut self.controllers[controller].active {
            if twice {
                active.jobs.push_back(Job::Alter(connection, request.clone()));
            }
            active.jobs.push_back(Job::Alter(connection, request));
        }
    }

    pub(super) fn altered_answer(
        &mut self,
        controller: usize,
        connection: ConnectionId,
        command: &AlterPartitions,
        results: &[AlteredPartition],
    ) {
        let Some(active) = &self.controllers[controller].active else {
            return;
        };
        let state = |key: TopicPartition| {
            let partition = active.image.partition(key.topic_id, key.partition)?;
            Some((partition.epoch, partition.isr.clone()))
        };
        let answers = command
            .proposals
            .iter()
            .zip(results)
            .map(|(proposal, altered)| Altered {
                key: proposal.key,
                base: proposal.partition_epoch,
                result: match &altered.result {
                    Ok(_) => state(proposal.key).ok_or(highwater_proto::kafka::ErrorCode::UnknownTopicOrPartition),
                    Err(refusal) => Err(refusal.code),
                },
            });
        let answers = Message::Altered(answers.collect());
        self.network.send(connection, Peer::Controller(controller), answers);
    }

    /// Time has passed: nodes that run and can be reached were heard; whose session is over is fenced.
    pub(crate) fn heartbeats(&mut self) {
        let now = self.now;
        for controller in 0..self.controllers.len() {
            let brokers = &self.brokers;
            let network = &self.network;
            let Some(active) = &mut self.controllers[controller].active else {
                continue;
            };
            for (node, (stream, connection)) in &active.streams {
                let index = crate::broker::broker_index(*node);
                let broker = &brokers[index];
                let speaks = broker
                    .process
                    .as_ref()
                    .is_some_and(|process| process.session.connection() == Some(*connection));
                let reaches = !network.is_cut(Peer::Broker(index), Peer::Controller(controller));
                if speaks && !broker.paused && reaches {
                    active.sessions.heard(*node, *stream, now);
                }
            }
            for gone in active.sessions.expired(now) {
                active.jobs.push_back(Job::Fence(FenceNode {
                    node: gone.node,
                    epoch: gone.epoch,
                }));
            }
        }
    }
}

impl Active {
    fn stream_of(&self, connection: ConnectionId) -> Option<(highwater_proto::types::NodeId, StreamId)> {
        let found = self.streams.iter().find(|(_, (_, own))| *own == connection);
        found.map(|(node, (stream, _))| (*node, *stream))
    }
}
