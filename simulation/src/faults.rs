//! What goes wrong, and how far: no fault here is one that the promises do not cover, unless the partition is given up.

use highwater_proto::types::{NodeId, TopicPartition};

use crate::broker::{broker_index, node_id};
use crate::disk::Disk;
use crate::network::Peer;
use crate::world::World;

impl World {
    fn any_broker(&mut self) -> usize {
        self.random.below(self.brokers.len())
    }

    fn any_peer(&mut self) -> Peer {
        let brokers = self.brokers.len();
        match self.random.below(brokers + self.controllers.len()) {
            index if index < brokers => Peer::Broker(index),
            index => Peer::Controller(index - brokers),
        }
    }

    /// kill -9: the page cache stays, what the process knew is gone.
    pub(crate) fn kill(&mut self) {
        let broker = self.any_broker();
        if self.brokers[broker].process.is_some() {
            self.trace.say(|| format!("b{broker} is KILLED"));
            self.end_process(broker);
            self.give_up_cached(broker);
        }
    }

    /// What was not flushed is gone, too.
    pub(crate) fn lose_power(&mut self, broker: usize) {
        self.trace.say(|| format!("b{broker} LOSES POWER"));
        self.end_process(broker);
        self.brokers[broker].disk.lose_power(&mut self.random);
        self.note_durable(broker);
        self.give_up_cached(broker);
    }

    /// More is on a disk than its process had made sure of.
    pub(crate) fn note_durable(&mut self, broker: usize) {
        for (key, files) in &self.brokers[broker].disk.logs {
            if let Some(past) = self.history.partitions.get_mut(key) {
                past.hold(broker, files.durable());
            }
        }
    }

    pub(crate) fn power_loss(&mut self) {
        let broker = self.any_broker();
        self.lose_power(broker);
    }

    /// All machines at once.
    pub(crate) fn blackout(&mut self) {
        (0..self.brokers.len()).for_each(|broker| self.lose_power(broker));
    }

    pub(crate) fn start_some(&mut self) -> bool {
        let broker = self.any_broker();
        self.start(broker)
    }

    /// The broker is lost for good; another one with its id and an empty disk takes its place.
    pub(crate) fn replace_disk(&mut self) {
        let broker = self.any_broker();
        let directory = self.next_uuid();
        self.end_process(broker);
        self.brokers[broker].disk = Disk::empty(directory);
        self.trace.say(|| format!("b{broker} gets an EMPTY DISK"));
        self.give_up_where(broker, |_| true);
        if self.random.one_in(2) {
            self.start(broker);
            // It is back before it can copy anything.
            for other in (0..self.brokers.len()).filter(|other| *other != broker) {
                self.network.cut(Peer::Broker(broker), Peer::Broker(other));
            }
        }
    }

    /// With write caching, what is in the ISR may be lost with the processes of all of it.
    fn give_up_cached(&mut self, broker: usize) {
        self.give_up_where(broker, |cached| cached);
    }

    /// Gives up partitions of which no other trusted replica holds everything.
    fn give_up_where(&mut self, broker: usize, applies: impl Fn(bool) -> bool) {
        let image = self.store.image();
        let keys: Vec<TopicPartition> = self.history.partitions.keys().copied().collect();
        for key in keys {
            let Some(partition) = image.partition(key.topic_id, key.partition) else {
                continue;
            };
            let Some(past) = self.history.partitions.get(&key) else {
                continue;
            };
            let cached = past.plan.write_caching;
            let trusted = |node: &NodeId| partition.isr.contains(node) || partition.elr.contains(node);
            if !applies(cached) || !past.guaranteed || !trusted(&node_id(broker)) {
                continue;
            }
            let holds = |node: &NodeId| {
                let index = broker_index(*node);
                index != broker
                    && (!cached || self.brokers[index].process.is_some())
                    && self.is_expected_to_hold(index, cached)
                    && self.brokers[index].disk.logs.get(&key).is_some_and(|files| {
                        let held = if cached { files.batches() } else { files.durable() };
                        past.committed.is_empty() || held.get(past.committed.len() - 1) == past.committed.last()
                    })
            };
            let safe = partition.replicas.iter().filter(|node| trusted(node)).any(holds);
            if !safe {
                self.give_up(key);
            }
        }
    }

    /// False while a broker's disk, or its process with write caching, is another one than the cluster knows.
    pub(crate) fn is_expected_to_hold(&self, broker: usize, cached: bool) -> bool {
        let image = self.store.image();
        let Some(node) = image.node(node_id(broker)) else {
            return false;
        };
        let machine = &self.brokers[broker];
        let same_process = || {
            machine
                .process
                .as_ref()
                .is_some_and(|process| process.incarnation == node.registration.incarnation)
        };
        let recovered = || node.is_live();
        node.registration.directory_id == machine.disk.directory && (!cached || same_process() && recovered())
    }

    /// More was lost than the topic's settings can stand.
    pub(crate) fn give_up(&mut self, key: TopicPartition) {
        if let Some(past) = self.history.partitions.get_mut(&key)
            && past.guaranteed
        {
            past.guaranteed = false;
            self.history.summary.given_up += 1;
            self.trace.say(|| format!("{} is given up", past.name));
        }
    }

    pub(crate) fn pause(&mut self) {
        let broker = self.any_broker();
        if self.brokers[broker].process.is_some() {
            self.brokers[broker].paused = true;
            self.trace.say(|| format!("b{broker} is PAUSED"));
        }
    }

    pub(crate) fn resume(&mut self) -> bool {
        let broker = self.any_broker();
        std::mem::replace(&mut self.brokers[broker].paused, false)
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self) {
        let broker = self.any_broker();
        if let Some(process) = &mut self.brokers[broker].process
            && !process.leaving
        {
            process.leaving = true;
            self.trace.say(|| format!("b{broker} is asked to STOP"));
        }
    }

    pub(crate) fn cut(&mut self) {
        let (a, b) = (self.any_peer(), self.any_peer());
        if a != b {
            self.network.cut(a, b);
            self.trace.say(|| format!("{a} and {b} are CUT OFF"));
        }
    }

    pub(crate) fn heal_one(&mut self) -> bool {
        let cut = self.network.has_cuts();
        self.network.heal(Some(&mut self.random));
        cut
    }

    pub(crate) fn break_connection(&mut self) {
        if let Some((from, to)) = self.network.break_one(&mut self.random) {
            self.trace.say(|| format!("a connection of {from} and {to} breaks"));
        }
    }
}
