//! A client that commits offsets and reads them back, and what it may be told.

use std::collections::{HashMap, HashSet};

use highwater_coordinator::group::{
    CommitPartition, CommitTopic, FetchGroup, FetchTopic, OffsetCommit, OffsetFetch, Reply, Request, Token,
};
use highwater_coordinator::shard::Outcome;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::TopicId;

use crate::world::World;

/// What the client knows.
#[derive(Debug)]
pub struct ShardClient {
    /// It commits nothing for a while.
    pub quiet: bool,
    /// Nothing that is read from now on may be older.
    pub floor: i64,
    next_commit: i64,
    committing: Option<Committing>,
    /// Commits whose answer it did not wait for.
    given_up: HashSet<Token>,
    /// Reads under way, with the owner that was asked and what they must see at least.
    reading: HashMap<Token, (usize, i64)>,
    tokens: u64,
    /// Commits acknowledged and reads answered.
    pub done: (usize, usize),
}

/// A commit under way.
#[derive(Clone, Copy, Debug)]
struct Committing {
    token: Token,
    owner: usize,
    value: i64,
}

impl Default for ShardClient {
    fn default() -> Self {
        Self {
            quiet: false,
            floor: -1,
            next_commit: 1,
            committing: None,
            given_up: HashSet::new(),
            reading: HashMap::new(),
            tokens: 0,
            done: (0, 0),
        }
    }
}

impl ShardClient {
    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Nobody answers what this owner was asked; what it was asked to commit may come to be, or not.
    pub(super) fn lost(&mut self, owner: usize) {
        self.committing.take_if(|it| it.owner == owner);
        self.reading.retain(|_, (asked, _)| *asked != owner);
    }

    /// A reply: what it was, and what is wrong with it.
    pub(super) fn replied(&mut self, token: Token, outcome: Outcome) -> (String, Result<(), String>) {
        if let Some(Committing { value, .. }) = self.committing.filter(|it| it.token == token) {
            self.committing = None;
            let done = matches!(&outcome, Ok(Reply::OffsetCommit(topics))
                if topics[0].partitions[0].error == ErrorCode::None);
            if done {
                self.floor = self.floor.max(value);
                self.done.0 += 1;
            }
            let what = if done { "ACKNOWLEDGED" } else { "refused" };
            return (format!("the commit of {value} is {what}"), Ok(()));
        }
        if self.given_up.remove(&token) {
            return ("an answer comes too late: as good as refused".to_owned(), Ok(()));
        }
        let Some((_, floor)) = self.reading.remove(&token) else {
            return (String::new(), Err(format!("{token:?} is answered twice")));
        };
        let Ok(Reply::OffsetFetch(groups)) = outcome else {
            return ("a read is refused".to_owned(), Ok(()));
        };
        let seen = groups[0].topics[0].partitions[0].offset;
        let result = if seen < floor {
            Err(format!(
                "a read saw {seen} although {floor} had been acknowledged or seen"
            ))
        } else {
            Ok(())
        };
        self.floor = self.floor.max(seen);
        self.done.1 += 1;
        (format!("a read sees {seen}"), result)
    }
}

impl World {
    /// Any door may send to any owner.
    fn door(&mut self) -> usize {
        let any = self.random.below(2);
        self.shard.as_ref().and_then(|shards| shards.door).unwrap_or(any)
    }

    pub(super) fn send_commit(&mut self) -> bool {
        let owner = self.door();
        let now = self.shard_now();
        let impatient = self.random.one_in(40);
        let Some(shards) = &mut self.shard else { return false };
        let client = &mut shards.client;
        // An owner that hears nothing would else keep it from the next one.
        if let Some(commit) = client.committing.take_if(|_| impatient) {
            client.given_up.insert(commit.token);
        }
        if client.quiet || client.committing.is_some() {
            return false;
        }
        let (token, value) = (client.token(), client.next_commit);
        client.next_commit += 1;
        client.committing = Some(Committing { token, owner, value });
        let coordinator = &mut shards.coordinators[owner];
        coordinator.shard.handle(token, commit(value), &coordinator.image, now);
        true
    }

    pub(super) fn send_read(&mut self) -> bool {
        // Not everybody who reads comes through the door of who commits.
        let any = self.random.below(2);
        let owner = if self.random.one_in(3) { any } else { self.door() };
        let now = self.shard_now();
        let Some(shards) = &mut self.shard else { return false };
        let client = &mut shards.client;
        if client.reading.values().filter(|(asked, _)| *asked == owner).count() > 4 {
            return false;
        }
        let (token, floor) = (client.token(), client.floor);
        client.reading.insert(token, (owner, floor));
        let coordinator = &mut shards.coordinators[owner];
        coordinator.shard.handle(token, fetch(), &coordinator.image, now);
        true
    }
}

fn commit(offset: i64) -> Request {
    let partition = CommitPartition {
        partition: 0,
        offset,
        leader_epoch: -1,
        metadata: "".into(),
        refused: None,
    };
    let topic = CommitTopic {
        name: "t".into(),
        topic_id: TopicId::ZERO,
        partitions: vec![partition],
    };
    Request::OffsetCommit(OffsetCommit {
        group_id: "g".into(),
        generation: -1,
        member_id: "".into(),
        instance_id: None,
        retention: None,
        unknown_group_error: ErrorCode::GroupIdNotFound,
        topics: vec![topic],
    })
}

fn fetch() -> Request {
    let topic = FetchTopic {
        name: "t".into(),
        partitions: vec![0],
    };
    let group = FetchGroup {
        group_id: "g".into(),
        topics: Some(vec![topic]),
    };
    Request::OffsetFetch(OffsetFetch {
        groups: vec![group],
        require_stable: false,
    })
}
