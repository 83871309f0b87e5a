//! The broker's side of its session: register, wait for the image, be unfenced; again whenever the stream breaks.

use highwater_proto::types::TopicPartition;
use uuid::Uuid;

use super::{Broker, Process, Registration, SessionState, node_id};
use crate::message::{Message, Said, Told};
use crate::network::{ConnectionId, Peer};
use crate::world::World;

impl World {
    /// Starts the process of a broker that is down.
    pub(crate) fn start(&mut self, broker: usize) -> bool {
        if self.brokers[broker].process.is_some() {
            return false;
        }
        let incarnation = self.next_uuid();
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let clean = std::mem::replace(&mut disk.clean, false);
        // Acknowledged from the page cache, and then no clean end.
        let untrusted: Vec<TopicPartition> = disk
            .logs
            .iter()
            .filter(|(_, files)| files.cached && !clean)
            .map(|(key, _)| *key)
            .collect();
        *process = Some(Process {
            incarnation,
            epoch: None,
            image: Default::default(),
            session: SessionState::None,
            leaving: false,
            replicas: Default::default(),
            fetchers: Default::default(),
            untrusted,
        });
        self.history.summary.starts += 1;
        self.trace.say(|| format!("b{broker} STARTS"));
        true
    }

    /// Some broker goes on with its session.
    pub(crate) fn session_some(&mut self) -> bool {
        self.any_running().is_some_and(|broker| self.session(broker))
    }

    pub(crate) fn session(&mut self, broker: usize) -> bool {
        let Some(process) = &self.brokers[broker].process else {
            return false;
        };
        let me = Peer::Broker(broker);
        match process.session {
            SessionState::None => return self.register(broker),
            SessionState::Registered(connection, revision) if process.image.revision >= revision => {
                let untrusted = process.untrusted.clone();
                self.network
                    .send(connection, me, Message::Said(Said::Unfence { untrusted }));
                self.set_session(broker, SessionState::Unfencing(connection));
            }
            SessionState::Live(connection) if process.leaving => {
                let now = self.random.one_in(10);
                self.network.send(connection, me, Message::Said(Said::Leave { now }));
            }
            _ => return false,
        }
        true
    }

    fn register(&mut self, broker: usize) -> bool {
        let Some(controller) = self.believed_controller() else {
            return false;
        };
        let (from, to) = (Peer::Broker(broker), Peer::Controller(controller));
        if self.network.is_cut(from, to) {
            return false;
        }
        let Broker { disk, process, .. } = &self.brokers[broker];
        let Some(process) = process else { return false };
        let registration = Registration::new(node_id(broker), process.incarnation, disk.directory);
        let connection = self.network.open(from, to);
        self.trace.say(|| format!("b{broker} asks c{controller} to register"));
        self.network
            .send(connection, from, Message::Said(Said::Register(registration)));
        self.set_session(broker, SessionState::Registering(connection));
        true
    }

    fn set_session(&mut self, broker: usize, session: SessionState) {
        if let Some(process) = &mut self.brokers[broker].process {
            process.session = session;
        }
    }

    /// A connection is over.
    pub(crate) fn session_closed(&mut self, broker: usize, connection: ConnectionId) {
        if let Some(process) = &mut self.brokers[broker].process
            && process.session.connection() == Some(connection)
        {
            process.session = SessionState::None;
        }
    }

    /// The controller said something.
    pub(crate) fn told(&mut self, broker: usize, connection: ConnectionId, told: Told) {
        let Some(process) = &mut self.brokers[broker].process else {
            return;
        };
        match (told, process.session) {
            (Told::Registered { epoch, revision }, SessionState::Registering(own)) if own == connection => {
                process.epoch = Some(epoch);
                process.session = SessionState::Registered(connection, revision);
            }
            (Told::Unfenced, SessionState::Unfencing(own)) if own == connection => {
                process.session = SessionState::Live(connection);
            }
            (Told::Refused(refused), _) => {
                self.trace.say(|| format!("b{broker} is refused: {refused}"));
                self.end_process(broker);
            }
            (Told::MayLeave, SessionState::Live(own)) if own == connection && process.leaving => {
                self.stop_clean(broker);
            }
            _ => {}
        }
    }

    /// Everything is flushed and the directory is marked clean.
    fn stop_clean(&mut self, broker: usize) {
        let disk = &mut self.brokers[broker].disk;
        for files in disk.logs.values_mut() {
            files.sync();
            files.cached = false;
        }
        disk.clean = true;
        self.note_durable(broker);
        self.trace.say(|| format!("b{broker} stops cleanly"));
        self.end_process(broker);
    }

    pub(crate) fn next_uuid(&mut self) -> Uuid {
        self.uuids += 1;
        Uuid::from_u128(self.uuids)
    }

    pub(crate) fn next_content(&mut self) -> u64 {
        self.contents += 1;
        self.contents
    }
}
