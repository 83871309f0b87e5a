//! Connections: in order within one, in any order across them; a broken one loses what is on its way. Pairs of nodes
//! can be cut off from each other: what they sent then waits, as TCP makes it.

use std::collections::VecDeque;

use crate::message::Message;
use crate::random::Random;

/// One in so many messages may be one of a slow connection.
const PATIENCE: usize = 40;

/// Somebody who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The broker at this index.
    Broker(usize),
    /// The controller at this index.
    Controller(usize),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broker(index) => write!(f, "b{index}"),
            Self::Controller(index) => write!(f, "c{index}"),
        }
    }
}

/// One connection, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

#[derive(Debug)]
struct Way {
    connection: ConnectionId,
    from: Peer,
    to: Peer,
    queue: VecDeque<Message>,
    /// What it carries is late.
    slow: bool,
}

/// A message that arrives.
#[derive(Debug)]
pub struct Arrival {
    /// Over which connection.
    pub connection: ConnectionId,
    /// Who sent it.
    pub from: Peer,
    /// Whom it reaches.
    pub to: Peer,
    /// What it says.
    pub message: Message,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Network {
    ways: Vec<Way>,
    cuts: Vec<(Peer, Peer)>,
    opened: u64,
    /// One in so many connections is slow; 0: none.
    pub slow: u64,
}

impl Network {
    /// A new connection.
    pub fn open(&mut self, from: Peer, to: Peer) -> ConnectionId {
        self.opened += 1;
        let connection = ConnectionId(self.opened);
        for (from, to) in [(from, to), (to, from)] {
            self.ways.push(Way {
                connection,
                from,
                to,
                queue: VecDeque::new(),
                slow: self.slow > 0 && self.opened.is_multiple_of(self.slow),
            });
        }
        connection
    }

    /// Sends; nothing happens if the connection is gone, or about to be.
    pub fn send(&mut self, connection: ConnectionId, from: Peer, message: Message) {
        if let Some(way) = self.way(connection, from)
            && !matches!(way.queue.back(), Some(Message::Closed))
        {
            way.queue.push_back(message);
        }
    }

    fn way(&mut self, connection: ConnectionId, from: Peer) -> Option<&mut Way> {
        self.ways
            .iter_mut()
            .find(|way| way.connection == connection && way.from == from)
    }

    /// The connection ends without a trace: both ends have forgotten it.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.ways.retain(|way| way.connection != connection);
    }

    /// `peer` closes: what it has sent before still arrives, then its end; what is on its way to it is lost.
    pub fn close(&mut self, connection: ConnectionId, peer: Peer) {
        self.ways.retain(|way| way.connection != connection || way.from == peer);
        self.send(connection, peer, Message::Closed);
    }

    /// A process ended. A part of what it has sent may still arrive.
    pub fn close_all(&mut self, peer: Peer, random: &mut Random) {
        self.ways.retain(|way| way.to != peer);
        for way in self.ways.iter_mut().filter(|way| way.from == peer) {
            let keep = random.below(way.queue.len() + 1);
            way.queue.truncate(keep);
            way.queue.push_back(Message::Closed);
        }
    }

    /// Breaks some connection: what is on its way is lost, and both ends learn of it.
    pub fn break_one(&mut self, random: &mut Random) -> Option<(Peer, Peer)> {
        if self.ways.is_empty() {
            return None;
        }
        let at = random.below(self.ways.len());
        let (broken, from, to) = (self.ways[at].connection, self.ways[at].from, self.ways[at].to);
        for way in self.ways.iter_mut().filter(|way| way.connection == broken) {
            way.queue.clear();
            way.queue.push_back(Message::Closed);
        }
        Some((from, to))
    }

    /// Cuts two peers off from each other.
    pub fn cut(&mut self, a: Peer, b: Peer) {
        if !self.is_cut(a, b) {
            self.cuts.push((a, b));
        }
    }

    /// True if the two cannot reach each other.
    #[must_use]
    pub fn is_cut(&self, a: Peer, b: Peer) -> bool {
        self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a))
    }

    /// Ends one cut, or all of them.
    pub fn heal(&mut self, one: Option<&mut Random>) {
        match one {
            Some(random) if !self.cuts.is_empty() => {
                let at = random.below(self.cuts.len());
                self.cuts.swap_remove(at);
            }
            Some(_) => {}
            None => self.cuts.clear(),
        }
    }

    /// Ends every cut between this one and others.
    pub fn heal_all_of(&mut self, peer: Peer) {
        self.cuts.retain(|(a, b)| *a != peer && *b != peer);
    }

    /// What was sent over this connection, and will be, is late.
    pub fn slow_down(&mut self, connection: ConnectionId) {
        for way in self.ways.iter_mut().filter(|way| way.connection == connection) {
            way.slow = true;
        }
    }

    /// True if any two are cut off from each other.
    #[must_use]
    pub fn has_cuts(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Some message that can arrive now, on a slow connection seldom. `listens` says who takes messages.
    pub fn take(&mut self, random: &mut Random, listens: impl Fn(Peer) -> bool) -> Option<Arrival> {
        let cuts = &self.cuts;
        let slow_too = self.slow == 0 || random.one_in(PATIENCE);
        let arrives = |way: &Way| {
            !way.queue.is_empty()
                && (slow_too || !way.slow)
                && listens(way.to)
                && !cuts.contains(&(way.from, way.to))
                && !cuts.contains(&(way.to, way.from))
        };
        let count = self.ways.iter().filter(|way| arrives(way)).count();
        if count == 0 {
            return None;
        }
        let nth = random.below(count);
        let at = self
            .ways
            .iter()
            .enumerate()
            .filter(|(_, way)| arrives(way))
            .map(|(at, _)| at)
            .nth(nth)?;
        let way = &mut self.ways[at];
        let message = way.queue.pop_front()?;
        let arrival = Arrival {
            connection: way.connection,
            from: way.from,
            to: way.to,
            message,
        };
        if matches!(arrival.message, Message::Closed) {
            self.ways.swap_remove(at);
            // The other direction has nobody to send to any more, unless it ends likewise.
            self.ways.retain(|way| {
                way.connection != arrival.connection || matches!(way.queue.back(), Some(Message::Closed))
            });
        }
        Some(arrival)
    }
}
