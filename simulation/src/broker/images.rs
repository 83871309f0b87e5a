//! Images arrive late, one update at a time, many at once, or as a snapshot of a controller that may be behind. What
//! follows from one comes from comparing it with the one before.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_broker::log::{Durability, LeaderEpochs};
use highwater_broker::replica::{AckError, BrokerView, Replica, ReplicaConfig, ShardOwner};
use highwater_proto::metadata::{MetadataImage, Partition, diff};
use highwater_proto::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

use super::{Broker, LocalReplica, node_id};
use crate::invariants;
use crate::world::{REPLICA_LAG_TIME_MAX, World};

impl World {
    /// Some broker sees a newer image.
    pub(crate) fn image_arrives(&mut self) -> bool {
        self.any_running().is_some_and(|broker| self.next_image(broker))
    }

    /// The next image of a broker: never one from before its registration.
    pub(crate) fn next_image(&mut self, broker: usize) -> bool {
        let newest = self.store.revision();
        if !self.hears(broker) {
            return false;
        }
        let Some(process) = &self.brokers[broker].process else {
            return false;
        };
        let old = Arc::clone(&process.image);
        // Nothing is carried out before an image that has this process' registration.
        let Some(first) = process.epoch.filter(|_| old.revision < newest) else {
            return false;
        };
        let new = if old.revision.get() == 0 {
            let late = self.random.below((newest.get() - first.get()) as usize + 1);
            self.store.image_at(first.get() + late as i64)
        } else if self.random.one_in(30) {
            // A standby that is behind, perhaps by much.
            let offered = self.store.image_at(self.random.below(newest.get() as usize + 1) as i64);
            let refused = old.apply_snapshot(&offered.snapshot());
            refused.map_or_else(|_| Arc::clone(&old), Arc::new)
        } else {
            // Who applies an image skips those that came meanwhile.
            let behind = (newest.get() - old.revision.get()) as usize;
            let most = if self.random.one_in(4) { behind } else { 3 };
            let many = 1 + self.random.below(most.max(1));
            let mut image = (*old).clone();
            // What was seen before may be streamed again after a reconnect.
            let from = old.revision.get() + 1 - i64::from(self.random.one_in(10));
            for revision in from.max(1)..(from + many as i64).min(newest.get() + 1) {
                image = image.apply(self.store.update_at(revision));
            }
            Arc::new(image)
        };
        let truth = self.store.image_at(new.revision.get());
        let result = invariants::images_never_go_back::check(&old, &new, &truth, broker);
        self.history.check(invariants::images_never_go_back::NAME, result);
        if new.revision > old.revision {
            self.trace.say(|| format!("b{broker} sees revision {}", new.revision));
            self.carry_out_image(broker, &old, new);
        }
        true
    }

    fn carry_out_image(&mut self, broker: usize, old: &MetadataImage, new: Arc<MetadataImage>) {
        let me = node_id(broker);
        let changes = diff(old, &new);
        let mut touched = HashSet::new();
        for change in &changes.partitions {
            let key = TopicPartition {
                topic_id: change.topic.id,
                partition: change.index,
            };
            touched.insert(key);
            match change.new.filter(|partition| partition.replicas.contains(&me)) {
                Some(partition) => self.assign(broker, key, partition, &new),
                None if change.old.is_some() => self.drop_replica(broker, key),
                None => {}
            }
        }
        // Leaders look at their followers again when brokers come, go, or register anew.
        if changes.nodes.iter().any(|node| node.key != me) {
            let Some(process) = &self.brokers[broker].process else {
                return;
            };
            let others: Vec<TopicPartition> = process.replicas.keys().copied().collect();
            for key in others.into_iter().filter(|key| !touched.contains(key)) {
                if let Some(partition) = new.partition(key.topic_id, key.partition) {
                    self.assign(broker, key, &Arc::clone(partition), &new);
                }
            }
        }
        if let Some(process) = &mut self.brokers[broker].process {
            process.image = new;
        }
    }

    fn assign(&mut self, broker: usize, key: TopicPartition, partition: &Partition, image: &MetadataImage) {
        let now = self.now;
        if self.local(broker, key).is_none() && !self.create_replica(broker, key) {
            return;
        }
        let Some(local) = self.local(broker, key) else { return };
        let before = (local.replica.is_leader(), local.replica.leader_epoch());
        let view = |node: NodeId| {
            let node = image.node(node)?;
            Some(BrokerView {
                epoch: node.epoch,
                eligible: node.is_live(),
            })
        };
        let effects = local.replica.assign(partition, view, now);
        let after = (local.replica.is_leader(), local.replica.leader_epoch());
        if after != before {
            local.asked = None;
        }
        if after.0 && after != before {
            self.leads(broker, key, after.1);
        }
        self.carry_out(broker, key, effects);
    }

    /// A replica that begins in this process, with what is on the disk.
    fn create_replica(&mut self, broker: usize, key: TopicPartition) -> bool {
        let Some(past) = self.history.partitions.get(&key) else {
            return false;
        };
        let plan = past.plan;
        let config = ReplicaConfig {
            min_insync_replicas: plan.min_isr,
            replica_lag_time_max: REPLICA_LAG_TIME_MAX,
        };
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let Some(process) = process else { return false };
        let files = disk.logs.entry(key).or_default();
        let durability = Durability::recovered(files.end(), false);
        let mut epochs = LeaderEpochs::default();
        for batch in files.batches() {
            epochs.assign(batch.epoch, batch.base);
        }
        let flushed = if plan.write_caching {
            files.end()
        } else {
            durability.end()
        };
        let replica = Replica::new(node_id(broker), config, files.ends(flushed), files.high_watermark);
        let highest_seen = replica.high_watermark();
        let local = LocalReplica {
            replica,
            durability,
            epochs,
            flight: None,
            asked: None,
            shard_owner: ShardOwner::default(),
            plan,
            highest_seen,
        };
        process.replicas.insert(key, local);
        true
    }

    /// The image has it no longer, or elsewhere.
    fn drop_replica(&mut self, broker: usize, key: TopicPartition) {
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let Some(process) = process else { return };
        let Some(mut local) = process.replicas.remove(&key) else {
            return;
        };
        disk.logs.remove(&key);
        let effects = local.replica.stop(AckError::Deleted);
        for completed in effects.completed {
            self.decided_ack(broker, completed.ack, completed.result);
        }
    }

    /// A leader begins: its log has to hold everything that is committed.
    fn leads(&mut self, broker: usize, key: TopicPartition, epoch: LeaderEpoch) {
        self.history.summary.elections += 1;
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get(&key), process.as_mut()) else {
            return;
        };
        let incarnation = process.incarnation;
        if let Some(local) = process.replicas.get_mut(&key) {
            local.highest_seen = Offset(0);
        }
        let Some(past) = self.history.partitions.get_mut(&key) else {
            return;
        };
        self.trace
            .say(|| format!("b{broker} LEADS {} in epoch {epoch} from {}", past.name, files.end()));
        let result = invariants::one_leader_per_epoch::check(past, epoch, broker, incarnation);
        let survived = invariants::acknowledged_records_survive::check(past, files.batches(), epoch, broker);
        self.history.check(invariants::one_leader_per_epoch::NAME, result);
        self.history
            .check(invariants::acknowledged_records_survive::NAME, survived);
    }
}
