//! Following the image: effects come from comparing the old image with the new one (design section 3).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::config::{BrokerConfig, BrokerLayers, ConfigError, TopicConfig};
use highwater_proto::metadata::{
    ConfigResource, ImageDiff, MetadataImage, Node, Partition as Assignment, PartitionDiff, Topic, diff,
};
use highwater_proto::types::{NodeId, PartitionIndex, TopicPartition};

use super::Partitions;
use crate::log::{DeletedDir, Log, LogError};
use crate::partition::{Partition, TopicSettings, TopicState};
use crate::replica::{AckError, BrokerView};

/// What is left to do once an image has been carried out.
#[derive(Debug)]
#[must_use = "directories stay until they are removed, and followers until they are told"]
pub struct Applied {
    /// Directories of deleted partitions, and after how long they are to be removed (`file.delete.delay.ms`).
    pub directories: Vec<(Duration, DeletedDir)>,
    /// Partitions that have, or had, a replica here and whose assignment changed: they may follow another leader.
    pub assignments: Vec<TopicPartition>,
}

impl Partitions {
    /// Carries out what the new image says, then publishes it. Slow: opens and renames directories. An image that is not
    /// newer changes nothing.
    pub fn apply(&self, new: &Arc<MetadataImage>) -> Applied {
        let _one_at_a_time = self.applying.lock();
        let old = self.image();
        let mut applied = Applied {
            directories: Vec::new(),
            assignments: Vec::new(),
        };
        if new.position() <= old.position() {
            return applied;
        }
        // A restored store has not deleted what it does not know of: the replica is kept as a stray.
        let leaving = if old.cluster.generation == new.cluster.generation {
            Leaving::Deleted
        } else {
            Leaving::Aside
        };
        let changes = diff(&old, new);
        let is_here = |it: Option<&Arc<Assignment>>| it.is_some_and(|it| it.replicas.contains(&self.node));
        let gone = |partition: &&PartitionDiff<'_>| partition.old.is_some() && !is_here(partition.new);
        // Where a topic of the same name begins in this very image, the directory has to be free before.
        let replaced = |partition: &&PartitionDiff<'_>| {
            let by_name = new.topic(&partition.topic.name);
            by_name.is_some_and(|topic| topic.id != partition.topic.id)
        };
        for partition in changes.partitions.iter().filter(gone).filter(replaced) {
            self.leave(partition, leaving, AckError::Deleted, &mut applied);
        }
        // Before ISRs: one that shrank does not count with the min ISR of before.
        self.configure(new, &changes);
        let mut touched = HashSet::new();
        for partition in &changes.partitions {
            if let Some(assignment) = partition.new.filter(|it| it.replicas.contains(&self.node)) {
                self.assign(new, partition.topic, partition.index, assignment);
                touched.insert(key(partition));
            }
        }
        self.follow_brokers(new, &changes, &touched);
        // Whoever is woken by what ends below must already find it gone.
        self.image.store(Arc::clone(new));
        for partition in changes.partitions.iter().filter(gone) {
            let error = if new.topic_by_id(partition.topic.id).is_some() {
                AckError::NotLeader
            } else {
                AckError::Deleted
            };
            self.leave(partition, leaving, error, &mut applied);
            applied.assignments.push(key(partition));
        }
        applied.assignments.extend(touched);
        for topic in &changes.topics_deleted {
            self.topics.pin().remove(&topic.id);
        }
        applied
    }

    fn assign(&self, image: &MetadataImage, topic: &Topic, index: PartitionIndex, assignment: &Assignment) {
        self.repair(topic, index, assignment);
        let partition = match self.get(topic.id, index) {
            Some(partition) => partition,
            None => match self.create(image, topic, index) {
                Some(partition) => partition,
                None => {
                    let key = TopicPartition {
                        topic_id: topic.id,
                        partition: index,
                    };
                    self.report_if_counted_on(key, assignment);
                    return;
                }
            },
        };
        partition.assign(assignment, |node| broker_view(image, node), self.clock.now());
        partition.flush_all();
    }

    /// A partition that is new here: with the log that recovery found, or an empty one of which nothing is on disk until
    /// the first append. `None` if its storage cannot be used: it is then offline here, and the others go on.
    fn create(&self, image: &MetadataImage, topic: &Topic, index: PartitionIndex) -> Option<Arc<Partition>> {
        let key = TopicPartition {
            topic_id: topic.id,
            partition: index,
        };
        if self.unusable.lock().contains(&key) {
            return None;
        }
        let state = self.ensure_topic_state(image, topic);
        let (recovered, checkpoint) = self.unclaimed.lock().claim(&topic.name, topic.id, index);
        let mut log = match recovered {
            Some(mut log) => {
                log.set_config(Arc::clone(&state.settings().log));
                log
            }
            None => self.open_log(&state, index)?,
        };
        // Not before: for how long producers are remembered may be set for all brokers, which recovery does not know.
        log.expire_producers(self.clock.now_ms());
        if log.awaits_write_caching() {
            self.awaiting_write_caching.lock().push(key);
        }
        let partition = Arc::new(self.new_partition(&state, index, log, checkpoint));
        self.map.pin().insert(key, Arc::clone(&partition));
        Some(partition)
    }

    fn open_log(&self, topic: &TopicState, index: PartitionIndex) -> Option<Log> {
        let config = Arc::clone(&topic.settings().log);
        let open = || {
            Log::open(
                &self.log_dir,
                topic.name(),
                index,
                topic.id(),
                Arc::clone(&config),
                self.clock.now_ms(),
            )
        };
        let opened = match open() {
            Err(LogError::ForeignTopicId { path, found, .. }) => {
                tracing::warn!(path = %path.display(), %found, topic = %topic.name(), expected = %topic.id(),
                    "the directory holds another topic of this name; it is moved aside");
                let name = format!("{}-{index}", topic.name());
                self.log_dir.move_aside(&name).and_then(|_| open())
            }
            Err(error) if self.log_dir.relieve(&error) => open(),
            opened => opened,
        };
        match opened {
            Ok((log, _)) => Some(log),
            Err(error) => {
                tracing::error!(topic = %topic.name(), partition = %index, %error, "replica is offline: its log cannot be opened");
                None
            }
        }
    }

    fn ensure_topic_state(&self, image: &MetadataImage, topic: &Topic) -> Arc<TopicState> {
        if let Some(state) = self.topics.pin().get(&topic.id) {
            return Arc::clone(state);
        }
        let state = Arc::new(TopicState::new(&topic.name, topic.id, self.settings(image, topic)));
        self.topics.pin().insert(topic.id, Arc::clone(&state));
        state
    }

    /// Topics whose own configs changed, or all when the configs of brokers did.
    fn configure(&self, image: &MetadataImage, changes: &ImageDiff<'_>) {
        let broker_configs = changes.configs.iter().any(|change| match change.key {
            ConfigResource::ClusterDefault => true,
            ConfigResource::Broker(node) => *node == self.node,
            ConfigResource::Group(_) => false,
        });
        if broker_configs {
            image.topics().for_each(|topic| self.configure_topic(image, topic));
            return;
        }
        for (old, new) in &changes.topics_changed {
            if old.configs != new.configs {
                self.configure_topic(image, new);
            }
        }
    }

    fn configure_topic(&self, image: &MetadataImage, topic: &Topic) {
        let Some(state) = self.topics.pin().get(&topic.id).cloned() else {
            return;
        };
        state.configure(self.settings(image, topic));
        for index in 0..topic.partitions.len() {
            if let Some(partition) = self.get(topic.id, PartitionIndex(index as i32)) {
                partition.configure();
                if partition.awaits_write_caching() {
                    self.awaiting_write_caching.lock().push(TopicPartition {
                        topic_id: topic.id,
                        partition: PartitionIndex(index as i32),
                    });
                }
            }
        }
    }

    /// Values were checked before they were stored. Should one not be readable here all the same (an older version of
    /// this program), Kafka's defaults hold, and that is said.
    fn settings(&self, image: &MetadataImage, topic: &Topic) -> TopicSettings {
        let layers = BrokerLayers::of(image, Some(self.node), &self.fixed);
        let resolved =
            TopicConfig::resolve(&topic.configs, &layers).and_then(|it| Ok((it, BrokerConfig::resolve(&layers)?)));
        let (config, broker) = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                tracing::error!(topic = %topic.name, %error, "topic configuration cannot be read; what the process was started with holds");
                match self.fallback() {
                    Ok(fallback) => fallback,
                    Err(_) => return TopicSettings::default(),
                }
            }
        };
        TopicSettings::new(&config, broker.producer_id_expiration, broker.replica_lag_time_max)
    }

    fn fallback(&self) -> Result<(TopicConfig, BrokerConfig), ConfigError> {
        let layers = BrokerLayers::fixed(&self.fixed);
        Ok((
            TopicConfig::resolve(&Default::default(), &layers)?,
            BrokerConfig::resolve(&layers)?,
        ))
    }

    /// Leaders look at their followers again when brokers come, go, or register anew.
    fn follow_brokers(&self, image: &MetadataImage, changes: &ImageDiff<'_>, touched: &HashSet<TopicPartition>) {
        let changed: HashSet<NodeId> = changes.nodes.iter().map(|change| change.key).collect();
        if changed.is_empty() || changed.iter().all(|node| *node == self.node) {
            return;
        }
        let map = self.map.pin();
        for (key, partition) in map.iter().filter(|(key, _)| !touched.contains(key)) {
            let assignment = image.partition(key.topic_id, key.partition);
            if let Some(assignment) = assignment.filter(|it| it.replicas.iter().any(|node| changed.contains(node))) {
                partition.assign(assignment, |node| broker_view(image, node), self.clock.now());
            }
        }
    }

    /// Ends a replica that has no place here any more.
    fn leave(&self, gone: &PartitionDiff<'_>, leaving: Leaving, error: AckError, applied: &mut Applied) {
        let removed = self.map.pin().remove(&key(gone)).cloned();
        let Some(partition) = removed else { return };
        let Some(log) = partition.end(error) else { return };
        if matches!(leaving, Leaving::Aside) {
            return self.move_log_aside(log);
        }
        let delay = partition.topic().settings().file_delete_delay;
        match log.delete() {
            Ok(Some(directory)) => applied.directories.push((delay, directory)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(topic = %partition.topic().name(), partition = %gone.index, %error, "cannot delete the log");
            }
        }
    }

    /// Moves aside what recovery found and the image does not know. To be called once an image at or after this
    /// broker's registration is applied: nothing is deleted at sight.
    pub fn move_strays_aside(&self) {
        let strays = self.unclaimed.lock().take_all();
        strays.into_iter().for_each(|log| self.move_log_aside(log));
    }

    fn move_log_aside(&self, log: Log) {
        let name = log.name().to_owned();
        drop(log);
        match self.log_dir.move_aside(&name) {
            Ok(path) => {
                tracing::warn!(partition = name, moved_to = %path.display(), "the cluster does not know this partition");
            }
            // Nothing was ever written.
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(partition = name, %error, "cannot move an unknown partition aside"),
        }
    }
}

/// What becomes of the log of a replica that has no place here any more.
#[derive(Clone, Copy)]
enum Leaving {
    /// Its files go after `file.delete.delay.ms`.
    Deleted,
    /// It is kept for `stray.retention.ms`.
    Aside,
}

fn key(partition: &PartitionDiff<'_>) -> TopicPartition {
    TopicPartition {
        topic_id: partition.topic.id,
        partition: partition.index,
    }
}

fn broker_view(image: &MetadataImage, node: NodeId) -> Option<BrokerView> {
    let node: &Arc<Node> = image.nodes.get(&node)?;
    Some(BrokerView {
        epoch: node.epoch,
        eligible: node.is_live() && !node.disk.stalled,
    })
}
