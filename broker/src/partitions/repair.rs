//! Replicas that are damaged: copied afresh from their leaders once nothing depends on what is left of them.

use highwater_proto::metadata::{Partition as Assignment, Topic};
use highwater_proto::types::{PartitionIndex, TopicPartition};

use super::Partitions;
use crate::log::LogError;
use crate::replica::AckError;

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
        if let Some(partition) = partition {
            self.map.pin().remove(&key);
            partition.end(AckError::Storage);
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
