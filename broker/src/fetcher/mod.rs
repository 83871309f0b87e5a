//! Followers: copies the partitions that other brokers lead. One task, one connection and one fetch session per leader
//! broker, whatever the number of partitions: all of them in one answer, flushed together, and only then fetched again,
//! so that each fetch says what is on disk here (design section 5).

mod answer;
mod connection;
mod leader_offsets;
mod session;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use highwater_proto::types::{NodeId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::Broker;

use self::task::Fetcher;

/// The fetchers of a broker, one per leader.
#[derive(Debug, Default)]
pub struct Fetchers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fetchers: HashMap<NodeId, Arc<Inbox>>,
    /// Which leader's fetcher has a partition.
    assigned: HashMap<TopicPartition, NodeId, foldhash::fast::RandomState>,
}

/// Partitions that a fetcher has to look at: theirs to begin with, to go on with, or to leave.
#[derive(Debug)]
pub(super) struct Inbox {
    leader: NodeId,
    changed: Mutex<Vec<TopicPartition>>,
    some: Notify,
    figures: Figures,
}

/// What a fetcher counts.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Bytes of batches copied.
    bytes: AtomicU64,
    /// Records that the follower that is farthest behind lacks, as of the last answer.
    max_lag: AtomicI64,
    /// Partitions that rest after failed fetches.
    resting: AtomicU64,
    /// Answers.
    answers: AtomicU64,
}

/// A fetcher's figures at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetcherFigures {
    /// The leader.
    pub leader: NodeId,
    /// Bytes of batches copied.
    pub bytes: u64,
    /// Records that the replica that is farthest behind lacks.
    pub max_lag: i64,
    /// Partitions that rest after failed fetches.
    pub resting: u64,
    /// Answers of the leader.
    pub answers: u64,
}

impl Inbox {
    fn new(leader: NodeId) -> Self {
        Self {
            leader,
            changed: Mutex::default(),
            some: Notify::new(),
            figures: Figures::default(),
        }
    }

    fn push(&self, key: TopicPartition) {
        let mut changed = self.changed.lock();
        changed.push(key);
        if changed.len() == 1 {
            self.some.notify_one();
        }
    }

    fn take(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut *self.changed.lock())
    }
}

impl Fetchers {
    /// Looks at these partitions again after an image: whoever leads them is fetched from.
    pub(crate) fn assignments_changed(&self, broker: &Arc<Broker>, keys: &[TopicPartition]) {
        let mut state = self.state.lock();
        for key in keys {
            let partition = broker.partitions().get(key.topic_id, key.partition);
            let leader = partition.and_then(|partition| partition.follows());
            let before = match leader {
                Some(leader) => state.assigned.insert(*key, leader),
                None => state.assigned.remove(key),
            };
            if let Some(inbox) = before
                .filter(|before| Some(*before) != leader)
                .and_then(|it| state.fetchers.get(&it))
            {
                inbox.push(*key);
            }
            if let Some(leader) = leader {
                let inbox = state.fetchers.entry(leader).or_insert_with(|| start(broker, leader));
                inbox.push(*key);
            }
        }
    }

    /// What the fetchers count.
    #[must_use]
    pub fn figures(&self) -> Vec<FetcherFigures> {
        let state = self.state.lock();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = state.fetchers.values().map(|inbox| FetcherFigures {
            leader: inbox.leader,
            bytes: load(&inbox.figures.bytes),
            max_lag: inbox.figures.max_lag.load(Ordering::Relaxed),
            resting: load(&inbox.figures.resting),
            answers: load(&inbox.figures.answers),
        });
        figures.collect()
    }
}

/// Starts a fetcher. It ends with the broker; without partitions it has no connection.
fn start(broker: &Arc<Broker>, leader: NodeId) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::new(leader));
    let fetcher = Fetcher::new(Arc::clone(broker), Arc::clone(&inbox));
    broker.shutdown().spawn(fetcher.run());
    inbox
}
