//! What the world has seen: which records are committed, which were acknowledged, who led when. The invariants are
//! about this and what is on the disks.

use std::collections::{BTreeMap, HashMap};

use highwater_proto::types::{LeaderEpoch, Offset, TopicPartition};
use uuid::Uuid;

use crate::disk::Batch;
use crate::plan::TopicPlan;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in the catalogue.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

/// The past of one partition.
#[derive(Clone, Debug)]
pub struct PartitionHistory {
    /// For people.
    pub name: String,
    /// What its topic promises.
    pub plan: TopicPlan,
    /// Everything that some leader had below its high watermark, from offset 0 on.
    pub committed: Vec<Batch>,
    /// The leader epoch in which each of them was committed.
    pub committed_in: Vec<LeaderEpoch>,
    /// Acknowledged with acks=all.
    pub acknowledged: Vec<Batch>,
    /// Who led in which epoch: the broker and its process start.
    pub leaders: BTreeMap<LeaderEpoch, (usize, Uuid)>,
    /// Which content was seen at which offset and epoch.
    pub placed: HashMap<(Offset, LeaderEpoch), u64>,
    /// On whose disks a batch has been, by content: one bit per broker.
    pub held: HashMap<u64, u32>,
    /// False once more was lost than the topic's settings can stand: then nothing is promised any more.
    pub guaranteed: bool,
    /// A consumer's next offset.
    pub position: Offset,
}

impl PartitionHistory {
    /// Of a partition that is new.
    #[must_use]
    pub fn new(name: String, plan: TopicPlan) -> Self {
        Self {
            name,
            plan,
            committed: Vec::new(),
            committed_in: Vec::new(),
            acknowledged: Vec::new(),
            leaders: BTreeMap::new(),
            placed: HashMap::new(),
            held: HashMap::new(),
            guaranteed: true,
            position: Offset(0),
        }
    }

    /// These batches count on a broker from now on.
    pub fn hold(&mut self, broker: usize, batches: &[Batch]) {
        for batch in batches {
            *self.held.entry(batch.content).or_default() |= 1 << broker;
        }
    }

    /// The offset behind the last committed record.
    #[must_use]
    pub fn committed_end(&self) -> Offset {
        self.committed.last().map_or(Offset(0), |batch| batch.end())
    }
}

/// What a schedule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps.
    pub steps: usize,
    /// Batches appended by producers.
    pub produced: usize,
    /// Batches acknowledged with acks=all.
    pub acknowledged: usize,
    /// Batches that consumers read.
    pub read: usize,
    /// Leaders that began.
    pub elections: usize,
    /// Partitions whose replicas became others.
    pub reassigned: usize,
    /// Processes of brokers that began.
    pub starts: usize,
    /// Offsets committed and read at the shard.
    pub offsets: usize,
    /// Transactions of the store.
    pub commits: usize,
    /// Partitions that lost more than their settings can stand.
    pub given_up: usize,
}

impl Summary {
    /// Adds another schedule.
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.produced += other.produced;
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.elections += other.elections;
        self.reassigned += other.reassigned;
        self.starts += other.starts;
        self.offsets += other.offsets;
        self.commits += other.commits;
        self.given_up += other.given_up;
    }
}

/// All of the past.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By partition; deleted ones are gone.
    pub partitions: BTreeMap<TopicPartition, PartitionHistory>,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// The only invariant that counts; `None`: all.
    pub only: Option<&'static str>,
    /// What was done.
    pub summary: Summary,
}

impl History {
    /// A partition's name, for people.
    #[must_use]
    pub fn name(&self, key: TopicPartition) -> &str {
        self.partitions
            .get(&key)
            .map_or("a deleted partition", |past| &past.name)
    }

    /// Takes in what an invariant says.
    pub fn check(&mut self, invariant: &'static str, result: Result<(), String>) {
        let counts = self.only.is_none_or(|only| only == invariant);
        if let (true, None, Err(seen)) = (counts, &self.violation, result) {
            self.violation = Some(Violation { invariant, seen });
        }
    }
}
