//! Calm: nothing goes wrong any more, and everything that lost nothing has to become whole, soon.

use std::time::Duration;

use highwater_proto::types::{LeaderEpoch, TopicPartition};

use crate::history::Violation;
use crate::invariants;
use crate::world::World;

impl World {
    /// Nothing goes wrong, and everything that can happen happens, again and again.
    pub(crate) fn calm(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.calm_round();
        }
    }

    fn calm_round(&mut self) {
        self.pass(Duration::from_millis(20));
        self.notice_loss();
        if !self.has_active_controller() {
            self.elect();
        }
        for broker in 0..self.brokers.len() {
            self.session(broker);
            self.next_image(broker);
            let Some(process) = &self.brokers[broker].process else {
                continue;
            };
            let keys: Vec<TopicPartition> = process.replicas.keys().copied().collect();
            for key in keys {
                while self.flush(broker, key, false) {}
                self.fetch(broker, key);
                self.propose(broker, key);
            }
        }
        while self.deliver() {}
        self.complete_reassignments();
        for controller in 0..self.controllers.len() {
            for _ in 0..200 {
                if self.controllers[controller]
                    .active
                    .as_ref()
                    .is_none_or(|active| active.is_idle())
                {
                    break;
                }
                self.decide(controller);
            }
        }
        while self.deliver() {}
        if self.shard.is_some() {
            (0..2).for_each(|index| self.start_coordinator(index));
            for _ in 0..12 {
                self.shard_step();
            }
        }
    }

    /// One partition moves on as if nothing were wrong with it.
    pub(crate) fn move_on(&mut self, key: TopicPartition) {
        for broker in 0..self.brokers.len() {
            if !self.runs(broker) {
                continue;
            }
            while self.flush(broker, key, false) {}
            self.fetch(broker, key);
        }
        for _ in 0..6 {
            self.deliver();
        }
    }

    /// Everything that was broken is whole again; then all partitions have to be, soon.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.trouble = 0;
        self.lossy = false;
        self.network.slow = 0;
        self.seesaw = None;
        self.network.heal(None);
        self.trace.say(|| "everything HEALS".to_owned());
        let done = self.shard.as_ref().map_or(0, |shards| shards.client.done.1);
        for _ in 0..800 {
            for broker in 0..self.brokers.len() {
                self.brokers[broker].paused = false;
                self.start(broker);
            }
            self.calm_round();
            self.check_isr();
            if let Some(violation) = self.history.violation.take() {
                return Err(violation);
            }
            self.end_of_shard();
            if self.sick(done).is_none() {
                break;
            }
        }
        let sick = self.sick(done);
        self.history
            .check(invariants::cluster_heals::NAME, sick.map_or(Ok(()), Err));
        self.check_survivors();
        self.history.violation.take().map_or(Ok(()), Err)
    }

    /// Why the cluster is not well.
    fn sick(&self, reads: usize) -> Option<String> {
        if self
            .shard
            .as_ref()
            .is_some_and(|shards| shards.client.done.1 < reads + 5)
        {
            return Some("the shard answers no reads".to_owned());
        }
        let image = self.store.image();
        for (key, past) in self.history.partitions.iter().filter(|(_, past)| past.guaranteed) {
            let Some(partition) = image.partition(key.topic_id, key.partition) else {
                continue;
            };
            let Some(leader) = self.acting_leader(*key) else {
                return Some(format!("{} has no leader that serves: {partition:?}", past.name));
            };
            if partition.isr.len() < partition.replicas.len() {
                return Some(format!("{} has too small an ISR: {partition:?}", past.name));
            }
            let Some(files) = self.brokers[leader].disk.logs.get(key) else {
                return Some(format!("the leader of {} has no log", past.name));
            };
            if past.committed_end() < files.end() {
                return Some(format!(
                    "{} is committed up to {}, its log ends at {}",
                    past.name,
                    past.committed_end(),
                    files.end()
                ));
            }
        }
        None
    }

    fn check_survivors(&mut self) {
        use invariants::acknowledged_records_survive::{NAME, check};
        let image = self.store.image();
        let mut broken = None;
        for (key, past) in &self.history.partitions {
            let (Some(leader), Some(partition)) =
                (self.acting_leader(*key), image.partition(key.topic_id, key.partition))
            else {
                continue;
            };
            if let Some(files) = self.brokers[leader].disk.logs.get(key) {
                let later = LeaderEpoch(partition.leader_epoch.get() + 1);
                let result = check(past, files.batches(), later, leader);
                broken = broken.or(result.err());
            }
        }
        if let Some(seen) = broken {
            self.history.check(NAME, Err(seen));
        }
    }
}
