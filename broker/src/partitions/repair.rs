//! Replicas that are damaged: copied afresh from their leaders once nothing depends on what is left of them.

use std::time::Duration;

use highwater_proto::metadata::{Partition as Assignment, Topic};
use highwater_proto::types::{PartitionIndex, TopicPartition};

use super::Partitions;
use crate::log::LogError;
use crate::replica::AckError;

/// A replica is copied afresh at most this often.
const BETWEEN_REPAIRS: Duration = Duration::from_secs(600);

impl Partitions {
    /// Moves the directory of a damaged replica aside, so that the next step begins an empty one, if another broker leads
    /// and this one has no seat: an empty replica must never be elected as if it had what it once acknowledged (known trace
    /// R8). While it has a seat, the controller is told that it cannot be used.
    pub(super) fn repair(&self, topic: &Topic, index: PartitionIndex, assignment: &Assignment) {
        let key = TopicPartition {
            topic_id: topic.id,
            partition: index,
        };
        let partition = self.get(topic.id, index);
        let damaged = match &partition {
            Some(partition) => partition.is_repairable(),
            None => self.unusable.lock().contains(&key),
        };
        // A disk that failed takes no new copy either.
        if !damaged || self.log_dir.check().is_err() {
            return;
        }
        if assignment.isr.contains(&self.node) || assignment.elr.contains(&self.node) {
            self.reports.offline(key);
            return;
        }
        if assignment.leader.is_none_or(|leader| leader == self.node) {
            return;
        }
        if self.was_repaired_lately(key) {
            tracing::error!(topic = %topic.name, partition = %index, "the replica is damaged again: it stays offline");
            return;
        }
        if let Some(partition) = partition {
            self.map.pin().remove(&key);
            partition.end(AckError::Storage);
            // Until its directory is out of the way.
            self.unusable.lock().insert(key);
        }
        let name = format!("{}-{index}", topic.name);
        match self.log_dir.move_aside(&name) {
            Ok(path) => {
                tracing::warn!(partition = name, moved_to = %path.display(), "the replica is damaged: copying it from its leader");
            }
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(partition = name, %error, "the replica is damaged and cannot be moved aside");
                return;
            }
        }
        self.unusable.lock().remove(&key);
        self.repaired.lock().insert(key, self.clock.now());
    }

    /// True if the replica has been copied afresh not long ago: a disk that damages it again and again is not sound,
    /// whatever its flushes say, and would be filled with the copies that are moved aside.
    fn was_repaired_lately(&self, key: TopicPartition) -> bool {
        let now = self.clock.now();
        let mut repaired = self.repaired.lock();
        repaired.retain(|_, last| now.saturating_sub(*last) < BETWEEN_REPAIRS);
        repaired.contains_key(&key)
    }

    /// Number of replicas that are assigned to this broker and have no log that can be opened.
    #[must_use]
    pub fn unusable(&self) -> usize {
        let image = self.image();
        let is_here = |key: &&TopicPartition| {
            let assignment = image.partition(key.topic_id, key.partition);
            assignment.is_some_and(|it| it.replicas.contains(&self.node))
        };
        self.unusable.lock().iter().filter(is_here).count()
    }

    /// The replica cannot be opened: the controller has to know if it counts on it.
    pub(super) fn report_if_counted_on(&self, key: TopicPartition, assignment: &Assignment) {
        let known = assignment.offline_replicas.contains(&self.node);
        let leads = assignment.leader == Some(self.node);
        if leads || assignment.isr.contains(&self.node) && !known {
            self.reports.offline(key);
        }
    }
}
