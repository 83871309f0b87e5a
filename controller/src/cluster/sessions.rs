//! Whose session is over (design section 4). Time is a duration since some fixed moment, given by the caller.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_proto::types::{BrokerEpoch, NodeId};

/// A pause of the caller that is longer than this says nothing about the nodes: all of them get a full timeout again.
const LONGEST_TICK_GAP: Duration = Duration::from_millis(200);
/// So many broken streams at once are believed to be the nodes' fault.
const BELIEVED_AT_ONCE: usize = 2;

/// How patient the controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `node.session.timeout.ms`: silence on a stream that stands.
    pub silence: Duration,
    /// `node.reconnect.grace.ms`: a stream that broke.
    pub reconnect: Duration,
}

/// One stream of a node; the number tells it from earlier streams of the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// Sessions of all registered nodes.
#[derive(Debug)]
pub struct Sessions {
    patience: Patience,
    nodes: BTreeMap<NodeId, Session>,
    last_tick: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    epoch: BrokerEpoch,
    tie: Tie,
    /// It was silent for too long at the last look: what it said may not have been told yet.
    suspected: bool,
    /// It was reported as expired and is being fenced.
    fencing: bool,
}

#[derive(Clone, Copy, Debug)]
enum Tie {
    /// A stream, heard of last at this time.
    Stream { id: StreamId, heard: Duration },
    /// No stream since then, and how long it may take to come back.
    Broken { since: Duration, grace: Duration },
}

/// A node whose session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The node.
    pub node: NodeId,
    /// The registration that is to be fenced.
    pub epoch: BrokerEpoch,
    /// Its stream stood but was silent; else it broke.
    pub silent: bool,
}

impl Sessions {
    /// Without any node.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            nodes: BTreeMap::new(),
            last_tick: None,
        }
    }

    /// A node of the image when this controller became active: it gets a full timeout to come, unless it ended with
    /// this controller's own process.
    pub fn expect(&mut self, node: NodeId, epoch: BrokerEpoch, same_process: bool, now: Duration) {
        let grace = if same_process {
            Duration::ZERO
        } else {
            self.patience.silence
        };
        let tie = Tie::Broken { since: now, grace };
        self.nodes.insert(
            node,
            Session {
                epoch,
                tie,
                suspected: false,
                fencing: false,
            },
        );
    }

    /// A node registered on a stream.
    pub fn opened(&mut self, node: NodeId, epoch: BrokerEpoch, id: StreamId, now: Duration) {
        self.nodes.insert(
            node,
            Session {
                epoch,
                tie: Tie::Stream { id, heard: now },
                suspected: false,
                fencing: false,
            },
        );
    }

    /// The stream of a node that stands; another incarnation has to wait for its end.
    #[must_use]
    pub fn stream(&self, node: NodeId) -> Option<StreamId> {
        match self.nodes.get(&node)?.tie {
            Tie::Stream { id, .. } => Some(id),
            Tie::Broken { .. } => None,
        }
    }

    /// True while a node may come back to its registration: it has a stream, or time to open another one.
    #[must_use]
    pub fn may_come_back(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// A message came.
    pub fn heard(&mut self, node: NodeId, stream: StreamId, now: Duration) {
        if let Some(Session {
            tie: Tie::Stream { id, heard },
            ..
        }) = self.nodes.get_mut(&node)
            && *id == stream
        {
            *heard = now;
        }
    }

    /// A stream broke. A node in the same process needs no grace: it does not come back.
    pub fn broken(&mut self, node: NodeId, stream: StreamId, same_process: bool, now: Duration) {
        let grace = if same_process {
            Duration::ZERO
        } else {
            self.patience.reconnect
        };
        if let Some(session) = self.nodes.get_mut(&node)
            && matches!(session.tie, Tie::Stream { id, .. } if id == stream)
        {
            session.tie = Tie::Broken { since: now, grace };
        }
    }

    /// The node is fenced: its session is over. Answers the stream that still stands, to be closed.
    pub fn ended(&mut self, node: NodeId, epoch: BrokerEpoch) -> Option<StreamId> {
        if self.nodes.get(&node)?.epoch != epoch {
            return None;
        }
        match self.nodes.remove(&node)?.tie {
            Tie::Stream { id, .. } => Some(id),
            Tie::Broken { .. } => None,
        }
    }

    /// Fencing a node failed: it is reported again, unless it is heard of. If the fence has `begun` (the image says so),
    /// it will be completed whatever the node says now: the session is over. Answers the stream that still stands then,
    /// to be closed: the node has to register, and to be unfenced again.
    pub fn not_fenced(&mut self, node: NodeId, epoch: BrokerEpoch, begun: bool) -> Option<StreamId> {
        if begun {
            return self.ended(node, epoch);
        }
        if let Some(session) = self.nodes.get_mut(&node).filter(|session| session.epoch == epoch) {
            session.fencing = false;
        }
        None
    }

    /// Nodes whose session is over now, each reported once. Call it every 100 ms. A node on a stream that stands has to
    /// be silent at two looks: messages that had arrived before the first one are told by the second.
    pub fn expired(&mut self, now: Duration) -> Vec<Expired> {
        let gap = self.last_tick.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.last_tick = Some(now);
        if gap > LONGEST_TICK_GAP {
            self.excuse_all(now);
        }
        let grace_is_over = |session: &Session| match session.tie {
            Tie::Broken { since, grace } => now.saturating_sub(since) >= grace,
            Tie::Stream { .. } => false,
        };
        let broken = self.nodes.values().filter(|session| grace_is_over(session)).count();
        let suspicious = broken > BELIEVED_AT_ONCE.max(self.nodes.len() / 3);
        let silence = self.patience.silence;
        let mut expired = Vec::new();
        for (node, session) in self.nodes.iter_mut().filter(|(_, session)| !session.fencing) {
            let silent = match session.tie {
                Tie::Stream { heard, .. } if now.saturating_sub(heard) >= silence => {
                    if !std::mem::replace(&mut session.suspected, true) {
                        continue;
                    }
                    true
                }
                // Many at once: more likely the network, or this controller.
                Tie::Broken { since, grace }
                    if now.saturating_sub(since) >= if suspicious { grace.max(silence) } else { grace } =>
                {
                    false
                }
                Tie::Stream { .. } | Tie::Broken { .. } => {
                    session.suspected = false;
                    continue;
                }
            };
            session.fencing = true;
            expired.push(Expired {
                node: *node,
                epoch: session.epoch,
                silent,
            });
        }
        expired
    }

    /// This process did not run: nobody is to blame for silence.
    fn excuse_all(&mut self, now: Duration) {
        let silence = self.patience.silence;
        for session in self.nodes.values_mut() {
            match &mut session.tie {
                Tie::Stream { heard, .. } => *heard = now,
                Tie::Broken { since, grace } => (*since, *grace) = (now, silence),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(5),
        reconnect: Duration::from_millis(500),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn node(id: i32) -> (NodeId, BrokerEpoch, StreamId) {
        (NodeId(id), BrokerEpoch(i64::from(id)), StreamId(id as u64))
    }

    fn open(count: i32) -> Sessions {
        let mut sessions = Sessions::new(PATIENCE);
        for (id, epoch, stream) in (1..=count).map(node) {
            sessions.opened(id, epoch, stream, ms(0));
        }
        sessions
    }

    /// When each node is reported, ticking every 100 ms.
    fn run(sessions: &mut Sessions, from: u64, to: u64, beating: &[i32]) -> Vec<(u64, i32, bool)> {
        let mut reported = Vec::new();
        for now in (from..=to).step_by(100) {
            for (id, _, stream) in beating.iter().copied().map(node) {
                sessions.heard(id, stream, ms(now));
            }
            reported.extend(
                sessions
                    .expired(ms(now))
                    .into_iter()
                    .map(|gone| (now, gone.node.get(), gone.silent)),
            );
        }
        reported
    }

    #[test]
    fn a_broken_stream_is_fenced_after_the_grace_and_silence_after_the_timeout() {
        let mut sessions = open(3);
        let (id, _, stream) = node(1);
        sessions.broken(id, stream, false, ms(1_000));
        assert_eq!(
            run(&mut sessions, 1_000, 9_000, &[2]),
            [(1_500, 1, false), (5_100, 3, true)]
        );
    }

    #[test]
    fn what_arrived_before_a_look_is_told_before_the_next_one_and_counts() {
        let mut sessions = open(1);
        let (id, epoch, stream) = node(1);
        assert_eq!(run(&mut sessions, 100, 5_000, &[]), [], "silent for the first time");
        // It had said something, which was waiting to be read.
        sessions.heard(id, stream, ms(5_050));
        assert_eq!(run(&mut sessions, 5_100, 10_000, &[]), []);
        assert_eq!(run(&mut sessions, 10_100, 10_200, &[]), [(10_200, 1, true)]);
        assert_eq!(sessions.ended(id, epoch), Some(stream));
    }

    #[test]
    fn a_node_that_comes_back_within_the_grace_is_not_fenced() {
        let mut sessions = open(1);
        let (id, epoch, stream) = node(1);
        sessions.broken(id, stream, false, ms(1_000));
        assert_eq!(sessions.stream(id), None);
        assert_eq!(run(&mut sessions, 1_000, 1_400, &[]), []);
        sessions.opened(id, epoch, StreamId(9), ms(1_450));
        // The end of the old stream is noticed late and means nothing.
        sessions.broken(id, stream, false, ms(1_460));
        assert_eq!(sessions.stream(id), Some(StreamId(9)));
        assert_eq!(run(&mut sessions, 1_500, 3_000, &[]), []);
    }

    #[test]
    fn the_grace_belongs_to_a_registration() {
        let mut sessions = open(1);
        let (id, first, stream) = node(1);
        sessions.broken(id, stream, false, ms(1_000));
        // Another process start registers before the grace is over, and breaks at once.
        let (second, later) = (BrokerEpoch(7), StreamId(7));
        sessions.opened(id, second, later, ms(1_300));
        sessions.broken(id, later, false, ms(1_400));
        assert_eq!(
            sessions.ended(id, first),
            None,
            "the end of the first one says nothing of the second"
        );
        assert_eq!(run(&mut sessions, 1_400, 1_800, &[]), [], "a grace of its own");
        let gone = sessions.expired(ms(1_900));
        assert_eq!(gone.iter().map(|gone| gone.epoch).collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn a_node_of_the_same_process_needs_no_grace() {
        let mut sessions = open(1);
        let (id, _, stream) = node(1);
        sessions.broken(id, stream, true, ms(1_000));
        assert_eq!(run(&mut sessions, 1_000, 1_000, &[]), [(1_000, 1, false)]);
    }

    #[test]
    fn many_broken_streams_at_once_get_the_full_timeout() {
        let mut sessions = open(9);
        for (id, _, stream) in [1, 2, 3, 4].map(node) {
            sessions.broken(id, stream, false, ms(100));
        }
        let beating = [5, 6, 7, 8, 9];
        assert_eq!(
            run(&mut sessions, 100, 5_000, &beating),
            [],
            "more than a third of nine"
        );
        let gone: Vec<_> = run(&mut sessions, 5_100, 5_100, &beating)
            .iter()
            .map(|gone| gone.1)
            .collect();
        assert_eq!(gone, [1, 2, 3, 4]);
    }

    #[test]
    fn a_gap_between_ticks_excuses_everybody() {
        let mut sessions = open(2);
        let (id, _, stream) = node(1);
        sessions.broken(id, stream, false, ms(100));
        assert_eq!(run(&mut sessions, 100, 500, &[2]), []);
        assert_eq!(sessions.expired(ms(20_000)), [], "this process did not run");
        assert_eq!(run(&mut sessions, 20_100, 24_900, &[2]), []);
        assert_eq!(run(&mut sessions, 25_000, 25_000, &[2]), [(25_000, 1, false)]);
    }

    #[test]
    fn a_fence_that_has_begun_ends_the_session_also_of_a_node_that_is_heard_again() {
        let mut sessions = open(1);
        let (id, epoch, stream) = node(1);
        assert_eq!(run(&mut sessions, 0, 5_100, &[]).len(), 1);
        sessions.heard(id, stream, ms(5_150));
        // The store failed between `fencing` and `fenced`; the rest of the fence follows by itself.
        assert_eq!(sessions.not_fenced(id, epoch, true), Some(stream));
        assert_eq!(sessions.stream(id), None);
        assert_eq!(run(&mut sessions, 5_200, 12_000, &[]), [], "nothing is left to fence");
    }

    #[test]
    fn a_new_active_controller_gives_a_full_timeout_and_reports_once() {
        let mut sessions = Sessions::new(PATIENCE);
        let (id, epoch, _) = node(1);
        sessions.expect(id, epoch, false, ms(0));
        assert_eq!(run(&mut sessions, 0, 8_000, &[]), [(5_000, 1, false)]);
        assert_eq!(sessions.not_fenced(id, epoch, false), None);
        assert_eq!(
            run(&mut sessions, 8_100, 9_000, &[]),
            [(8_100, 1, false)],
            "until it is fenced"
        );
        sessions.ended(id, epoch);
        assert_eq!(run(&mut sessions, 9_100, 20_000, &[]), []);
    }
}
