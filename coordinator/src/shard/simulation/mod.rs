//! Random schedules of two owners, a partition leader that moves and loses what is not committed, messages that are late,
//! lost or doubled, and doors that send requests to the wrong owner. Checked: an acknowledged commit never goes back,
//! and what a read has seen never disappears. Every rule of the leader that this rests on is broken once on purpose, to
//! see that the schedules find it (the variants C1 to C7 of the model that the rules come from).

mod leader;
mod model;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset, TimestampMs};

use self::model::{Answer, Call, Leader, Mutant, Random, commit, fetch};
use super::*;
use crate::group::{Now, Reply, Token};

/// Replicas of the partition, all in sync.
const REPLICAS: usize = 3;

struct Client {
    /// Nothing that is read from now on may be older.
    floor: i64,
    next_commit: i64,
    committing: Option<Token>,
    /// Reads under way, with what they must see at least.
    reading: HashMap<Token, i64>,
}

struct World {
    random: Random,
    /// One in so many moves happens.
    calm: usize,
    /// One in so many moves of the high watermark happens.
    slow: usize,
    /// An owner that is cut off, with the old leader, and for how many steps.
    cut_off: Option<(usize, usize)>,
    mutant: Mutant,
    now: Now,
    owners: [Shard; 2],
    /// The newest assignment: (coordinator epoch, owner).
    assigned: (i32, usize),
    leader: Leader,
    /// The leader before, if it does not know that it was replaced.
    deposed: Option<Leader>,
    /// The newest leader epoch that each replica has heard of.
    knows: [i32; REPLICAS],
    /// The leader epoch in each owner's image.
    told: [i32; 2],
    calls: Vec<Call>,
    answers: Vec<(usize, Answer)>,
    client: Client,
    commits: HashMap<Token, i64>,
    tokens: u64,
    acknowledged: usize,
    read: usize,
    released: usize,
}

impl World {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let config = Arc::new(ShardConfig::default());
        Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            calm: [1, 4, 12][seed as usize % 3],
            slow: [1, 10][seed as usize / 3 % 2],
            cut_off: None,
            mutant,
            now: Now {
                wall: TimestampMs(1_000),
                monotonic: Duration::ZERO,
            },
            owners: [Shard::new(Arc::clone(&config)), Shard::new(config)],
            assigned: (0, 0),
            leader: Leader::default(),
            deposed: None,
            knows: [0; REPLICAS],
            told: [0; 2],
            calls: Vec::new(),
            answers: Vec::new(),
            client: Client {
                floor: -1,
                next_commit: 1,
                committing: None,
                reading: HashMap::new(),
            },
            commits: HashMap::new(),
            tokens: 0,
            acknowledged: 0,
            read: 0,
            released: 0,
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.cut_off = match self.cut_off {
            Some((owner, steps)) if steps > 0 => Some((owner, steps - 1)),
            _ => None,
        };
        match self.random.below(42) {
            // Some schedules are calm, some are slow to commit.
            0 | 1 | 40 | 41 if !self.random.one_in(self.calm) => {}
            18..=22 if !self.random.one_in(self.slow) => {}
            0 => self.move_shard(),
            1 => self.move_leader(),
            2 => self.tell_replica(),
            3 | 4 => self.tell_owner(),
            5..=7 => self.pass_time(),
            8..=12 => self.send_commit(),
            13..=17 => self.send_read(),
            18..=22 => self.commit_log(),
            23..=31 => self.deliver_call(),
            32..=39 => self.deliver_answer(),
            40 => self.ask_for_release(),
            _ => self.cut(),
        }
        self.carry_out()
    }

    fn move_shard(&mut self) {
        self.assigned = (self.assigned.0 + 1, 1 - self.assigned.1);
    }

    /// A coordinator's image gets to the present.
    fn tell_owner(&mut self) {
        let owner = self.random.below(2);
        if self.cut_off.is_some_and(|(cut_off, _)| cut_off == owner) {
            return;
        }
        self.told[owner] = self.leader.epoch;
        let assignment = (self.assigned.1 == owner).then_some(Assignment {
            coordinator_epoch: CoordinatorEpoch(self.assigned.0),
            leader: Some(LeaderEpoch(self.leader.epoch)),
        });
        self.owners[owner].assign(assignment, self.now);
    }

    /// The network is cut between the shard's owner with the partition's leader, and everybody else.
    fn cut(&mut self) {
        if !self.random.one_in(4) {
            return;
        }
        self.cut_off = Some((self.assigned.1, 100 + self.random.below(200)));
        self.move_leader();
        self.move_shard();
    }

    /// A move is planned: it follows soon, or never.
    fn ask_for_release(&mut self) {
        if !self.random.one_in(8) {
            return;
        }
        self.owners[self.assigned.1].release(self.now);
        if self.random.one_in(8) {
            self.now.monotonic += Duration::from_secs(5);
        } else {
            self.move_shard();
        }
    }

    fn pass_time(&mut self) {
        self.now.monotonic += Duration::from_millis(self.random.below(200) as u64);
        for owner in &mut self.owners {
            owner.tick(self.now);
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Any door may send to any owner; most know the right one.
    fn door(&mut self) -> usize {
        match self.random.one_in(3) {
            true => self.random.below(2),
            false => self.assigned.1,
        }
    }

    fn send_commit(&mut self) {
        if self.client.committing.is_some() {
            return;
        }
        let (token, owner, value) = (self.token(), self.door(), self.client.next_commit);
        self.client.next_commit += 1;
        self.client.committing = Some(token);
        self.commits.insert(token, value);
        self.owners[owner].handle(token, commit(value), &MetadataImage::default(), self.now);
    }

    fn send_read(&mut self) {
        if self.client.reading.len() > 5 {
            return;
        }
        let (token, owner) = (self.token(), self.random.below(2));
        self.client.reading.insert(token, self.client.floor);
        self.owners[owner].handle(token, fetch(), &MetadataImage::default(), self.now);
    }

    fn commit_log(&mut self) {
        let leader = &mut self.leader;
        let open: Vec<i64> = leader
            .log
            .iter()
            .map(|batch| batch.1)
            .filter(|end| *end > leader.committed)
            .collect();
        if open.is_empty() {
            return;
        }
        leader.committed = open[self.random.below(open.len())];
        let committed = leader.committed;
        let (done, waiting): (Vec<_>, Vec<_>) = leader.waiting.drain(..).partition(|(_, end)| *end <= committed);
        leader.waiting = waiting;
        for (call, end) in done {
            let answer = match call.action {
                Action::Append { attempt, .. } => Answer::Appended(attempt, Ok(Offset(end))),
                Action::AwaitHighWatermark { attempt, .. } => Answer::HighWatermark(attempt, Ok(Offset(committed))),
                _ => continue,
            };
            self.answers.push((call.owner, answer));
        }
    }

    fn deliver_call(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let at = self.random.below(self.calls.len());
        match self.random.below(12) {
            // Given up by its owner, but still on its way.
            0 => {
                let call = self.calls[at].clone();
                self.fail(call, Failure::Unknown(ErrorCode::RequestTimedOut));
            }
            // Lost.
            1 => {
                let call = self.calls.swap_remove(at);
                self.fail(call, Failure::Unknown(ErrorCode::RequestTimedOut));
            }
            // Doubled.
            2 => self.arrive(self.calls[at].clone()),
            _ => {
                let call = self.calls.swap_remove(at);
                self.arrive(call);
            }
        }
    }

    fn fail(&mut self, call: Call, failure: Failure) {
        let answer = match call.action {
            Action::Open { attempt, .. } => Answer::Opened(attempt, Err(failure)),
            Action::AwaitHighWatermark { attempt, .. } => Answer::HighWatermark(attempt, Err(failure)),
            Action::Read { attempt, .. } => Answer::Read(attempt, Err(failure)),
            Action::Append { attempt, .. } => Answer::Appended(attempt, Err(failure)),
            Action::Confirm { attempt, .. } => Answer::Confirmed(attempt, Err(failure)),
            _ => return,
        };
        self.answers.push((call.owner, answer));
    }

    fn deliver_answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.random.below(self.answers.len());
        let (owner, mut answer) = self.answers.swap_remove(at);
        if self.random.one_in(15)
            && let Answer::Appended(_, result) = &mut answer
        {
            *result = Err(Failure::Unknown(ErrorCode::RequestTimedOut));
        }
        let shard = &mut self.owners[owner];
        match answer {
            Answer::Opened(attempt, result) => shard.opened(attempt, result, self.now),
            Answer::HighWatermark(attempt, result) => shard.high_watermark(attempt, result, self.now),
            Answer::Read(attempt, result) => shard.read(attempt, result, self.now),
            Answer::Appended(attempt, result) => shard.appended(attempt, result, self.now),
            Answer::Confirmed(attempt, result) => shard.confirmed(attempt, result, self.now),
        }
    }

    fn carry_out(&mut self) -> Result<(), String> {
        for owner in 0..2 {
            while let Some(action) = self.owners[owner].next_action() {
                match action {
                    Action::Reply(token, outcome) => self.replied(token, outcome)?,
                    Action::Released => self.released += 1,
                    Action::Loaded(_) => {}
                    Action::LoadFailed(error) => return Err(error),
                    action => {
                        let to = self.told[owner];
                        self.calls.push(Call { owner, to, action });
                    }
                }
            }
        }
        Ok(())
    }

    fn replied(&mut self, token: Token, outcome: Outcome) -> Result<(), String> {
        if self.client.committing == Some(token) {
            self.client.committing = None;
            if let Ok(Reply::OffsetCommit(topics)) = outcome
                && topics[0].partitions[0].error == ErrorCode::None
            {
                self.client.floor = self.client.floor.max(self.commits[&token]);
                self.acknowledged += 1;
            }
            return Ok(());
        }
        let Some(floor) = self.client.reading.remove(&token) else {
            return Err(format!("{token:?} is answered twice"));
        };
        if let Ok(Reply::OffsetFetch(groups)) = outcome {
            let seen = groups[0].topics[0].partitions[0].offset;
            if seen < floor {
                return Err(format!(
                    "a read saw {seen} although {floor} had been acknowledged or seen"
                ));
            }
            self.client.floor = self.client.floor.max(seen);
            self.read += 1;
        }
        Ok(())
    }
}

/// The world after so many steps, or what went wrong.
fn run(seed: u64, mutant: Mutant, steps: usize) -> Result<World, String> {
    let mut world = World::new(seed, mutant);
    for step in 0..steps {
        world
            .step()
            .map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
    }
    Ok(world)
}

#[test]
fn acknowledged_commits_never_go_back_and_what_was_read_never_disappears() {
    let (mut acknowledged, mut read, mut released) = (0, 0, 0);
    for seed in 1..=600 {
        let world = run(seed, Mutant::None, 1_500).unwrap();
        acknowledged += world.acknowledged;
        read += world.read;
        released += world.released;
    }
    assert!(
        acknowledged > 2_000 && read > 5_000 && released > 500,
        "{acknowledged} commits, {read} reads, {released} releases: the schedules do too little"
    );
}

#[test]
fn every_broken_rule_is_found() {
    for mutant in [
        Mutant::NoExpectedEnd,
        Mutant::AckBeforeCommit,
        Mutant::ConfirmAnybody,
        Mutant::NoFencing,
        Mutant::NoBarrier,
        Mutant::ConfirmFromImage,
        Mutant::AskOneFollower,
    ] {
        let found = (1..=3_000).find(|seed| run(*seed, mutant, 1_500).is_err());
        assert!(found.is_some(), "{mutant:?} is not found");
    }
}
