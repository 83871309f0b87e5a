//! Looks at a cluster from outside while things go wrong: no high watermark and no committed offset may ever go back.

use crate::history::Shared;
use crate::load::Work;
use crate::raw::{Raw, topic_name};
use crate::routed::{Routed, leader_address};
use anyhow::{Context, ensure};
use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A broker that is frozen or cut off is given up after this.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Threads that ask, until it is dropped.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    answers: Arc<AtomicU64>,
}

impl Monitor {
    /// Watches a topic and its group; what is wrong goes to the history.
    pub fn start(bootstrap: &str, work: &Work, history: &Shared) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let spawn = |mut look: Box<dyn FnMut(u64) -> bool + Send>| {
            let (stop, answers) = (stop.clone(), answers.clone());
            std::thread::spawn(move || {
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    answers.fetch_add(u64::from(look(turn)), Ordering::Relaxed);
                    turn += 1;
                    std::thread::sleep(PAUSE);
                }
            })
        };
        let mut ends = Ends::new(bootstrap, work, history);
        let mut commits = Commits::new(bootstrap, work, history);
        let threads = vec![
            spawn(Box::new(move |turn| ends.look(turn).is_ok())),
            spawn(Box::new(move |turn| commits.look(turn).is_ok())),
        ];
        Self { stop, threads, answers }
    }

    /// How many answers there were so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Asks one broker after the other, so that each is asked also while another would answer.
struct Turns {
    brokers: Vec<String>,
    routed: Routed,
}

impl Turns {
    fn new(bootstrap: &str) -> Self {
        Self {
            brokers: bootstrap.split(',').map(str::to_owned).collect(),
            routed: Routed::new(bootstrap).patience(PATIENCE),
        }
    }

    fn ask<T>(&mut self, turn: u64, ask: impl FnMut(&mut Raw) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let broker = self.brokers[turn as usize % self.brokers.len()].clone();
        self.routed.at(&broker, ask)
    }
}

/// High watermarks, each with the leader epoch that the leader confirmed: an answer of a later epoch, or a later answer
/// of the same, is never lower.
struct Ends {
    turns: Turns,
    work: Work,
    history: Shared,
    highest: HashMap<i32, (i32, i64)>,
}

impl Ends {
    fn new(bootstrap: &str, work: &Work, history: &Shared) -> Self {
        Self {
            turns: Turns::new(bootstrap),
            work: work.clone(),
            history: history.clone(),
            highest: HashMap::new(),
        }
    }

    fn look(&mut self, turn: u64) -> anyhow::Result<()> {
        let topic = self.work.topic.clone();
        let partition = (turn / 3) as i32 % self.work.partitions;
        let metadata = self.turns.ask(turn, |raw| raw.metadata(&topic))?;
        let found = metadata.topics.first().context("the topic")?;
        let found = found.partitions.iter().find(|p| p.partition_index == partition);
        let epoch = found.context("the partition")?.leader_epoch;
        let address = leader_address(&metadata, partition).context("a leader")?;
        let end = self
            .turns
            .routed
            .at(&address, |raw| end_at(raw, &topic, partition, epoch))?;
        let highest = self.highest.entry(partition).or_insert((epoch, end));
        if epoch >= highest.0 {
            if end < highest.1 {
                let (before, at) = (highest.1, highest.0);
                let back = format!(
                    "the high watermark of {topic}-{partition} was {before} in epoch {at}, then {end} in epoch {epoch}"
                );
                self.history.wrong(back);
            }
            *highest = (epoch, end);
        }
        Ok(())
    }
}

/// The high watermark, from a leader of this very epoch.
fn end_at(raw: &mut Raw, topic: &str, partition: i32, epoch: i32) -> anyhow::Result<i64> {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(epoch)
        .with_timestamp(-1);
    let topics = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topics]);
    let answer = raw.call(6, &request)?;
    let found = &answer.topics[0].partitions[0];
    ensure!(found.error_code == 0, "error {}", found.error_code);
    Ok(found.offset)
}

/// Committed offsets: none is lower than what was acknowledged before it was asked for.
struct Commits {
    turns: Turns,
    work: Work,
    history: Shared,
}

impl Commits {
    fn new(bootstrap: &str, work: &Work, history: &Shared) -> Self {
        Self {
            turns: Turns::new(bootstrap),
            work: work.clone(),
            history: history.clone(),
        }
    }

    fn look(&mut self, turn: u64) -> anyhow::Result<()> {
        let before = self.history.lock().committed.clone();
        let work = &self.work;
        let now = self
            .turns
            .ask(turn, |raw| raw.committed(&work.group, &work.topic, work.partitions))?;
        for (partition, offset) in before {
            let found = now[partition as usize];
            if found < offset {
                let topic = &work.topic;
                self.history.wrong(format!(
                    "{topic}-{partition}: a commit of {offset} was acknowledged, then {found} was answered"
                ));
            }
        }
        Ok(())
    }
}
