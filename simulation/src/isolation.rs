//! Brokers that are cut off while the cluster goes on without them: they believe for a while what is no longer true.

use highwater_controller::cluster::{FenceNode, LeaderMove, MoveLeaders};
use highwater_proto::types::{LeaderEpoch, NodeId, TopicPartition};

use crate::broker::{broker_index, node_id};
use crate::controller::Job;
use crate::network::{ConnectionId, Peer};
use crate::shard::{SHARD, coordinator_index};
use crate::world::World;

/// A leadership that is to come back to a leader that hears nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct Seesaw {
    key: TopicPartition,
    leader: NodeId,
    epoch: LeaderEpoch,
}

impl World {
    /// False while no controller can be reached from there: then there is no image.
    pub(crate) fn hears(&self, broker: usize) -> bool {
        let me = Peer::Broker(broker);
        (0..self.controllers.len()).any(|index| !self.network.is_cut(me, Peer::Controller(index)))
    }

    /// No controller reaches the broker any more.
    fn isolate(&mut self, broker: usize) {
        for index in 0..self.controllers.len() {
            self.network.cut(Peer::Broker(broker), Peer::Controller(index));
        }
        self.trace.say(|| format!("b{broker} is ISOLATED from the controllers"));
    }

    pub(crate) fn isolate_some(&mut self) {
        let broker = self.random.below(self.brokers.len());
        self.isolate(broker);
    }

    /// Leadership goes to another replica, and then back to the one that it came from, which is isolated meanwhile: it
    /// may hear of both at once.
    pub(crate) fn seesaw(&mut self) -> bool {
        let Some(begun) = self.seesaw.take() else {
            return self.begin_seesaw();
        };
        let Seesaw { key, leader, epoch } = begun;
        let image = self.store.image();
        let Some(partition) = image.partition(key.topic_id, key.partition) else {
            return false;
        };
        if partition.leader_epoch == epoch && !self.random.one_in(8) {
            self.seesaw = Some(begun);
            return false;
        }
        if partition.isr.contains(&leader) {
            self.move_leadership(key, partition.leader_epoch, leader);
        }
        if self.random.one_in(2) {
            self.network.heal_all_of(Peer::Broker(broker_index(leader)));
        }
        true
    }

    fn begin_seesaw(&mut self) -> bool {
        let image = self.store.image();
        let Some(key) = self.any_partition() else { return false };
        let Some(partition) = image.partition(key.topic_id, key.partition) else {
            return false;
        };
        let Some(leader) = partition.leader else { return false };
        let Some(target) = self.random.pick(&partition.isr).filter(|target| *target != leader) else {
            return false;
        };
        self.isolate(broker_index(leader));
        self.move_leadership(key, partition.leader_epoch, target);
        self.seesaw = Some(Seesaw {
            key,
            leader,
            epoch: partition.leader_epoch,
        });
        true
    }

    /// An answer that has a follower cut its log may be late, and another replica lead meanwhile.
    pub(crate) fn overtake(&mut self, key: TopicPartition, connection: ConnectionId) {
        if self.network.slow == 0 || !self.random.one_in(3) {
            return;
        }
        self.network.slow_down(connection);
        let image = self.store.image();
        if let Some(partition) = image.partition(key.topic_id, key.partition)
            && let Some(target) = self.random.pick(&partition.isr)
        {
            self.move_leadership(key, partition.leader_epoch, target);
        }
    }

    /// A follower has cut its log: the moment for a leader to come back that counts what was cut, unheard by the follower.
    pub(crate) fn has_cut(&mut self, broker: usize, key: TopicPartition) {
        let Some(Seesaw { leader, .. }) = self.seesaw.filter(|seesaw| seesaw.key == key) else {
            return;
        };
        if leader != node_id(broker) && self.random.one_in(2) {
            self.isolate(broker);
            self.seesaw();
            self.network.heal_all_of(Peer::Broker(broker_index(leader)));
        }
    }

    pub(crate) fn move_leadership(&mut self, key: TopicPartition, leader_epoch: LeaderEpoch, target: NodeId) {
        let wanted = LeaderMove {
            key,
            leader_epoch,
            target,
        };
        self.ask(Job::MoveLeaders(MoveLeaders { moves: vec![wanted] }));
    }

    /// The shard's owner and the leader of its partition are cut off from everybody else, with some of the clients. The
    /// others go on without them.
    pub(crate) fn split_brain(&mut self) -> bool {
        let image = self.store.image();
        let partition = self
            .shard_key()
            .and_then(|key| image.partition(key.topic_id, key.partition));
        let owner = image.shards.get(&SHARD).and_then(|it| it.owner);
        let owner = owner.and_then(|owner| image.node(owner)).filter(|node| node.is_live());
        let (Some(partition), Some(owner)) = (partition, owner) else {
            return false;
        };
        let Some(leader) = partition.leader.filter(|_| partition.isr.len() > 1) else {
            return false;
        };
        let (broker, index) = (broker_index(leader), coordinator_index(owner.id));
        // It is of no use before they serve.
        let serves = self
            .shard
            .as_ref()
            .and_then(|shards| shards.coordinators[index].believed_leader(index));
        if serves != Some(leader) || !self.hears(broker) || !self.runs(broker) {
            return false;
        }
        self.isolate(broker);
        // Some brokers are on its side, and as late.
        for other in (0..self.brokers.len()).filter(|other| *other != broker) {
            match self.random.below(6) {
                0 => {}
                1 | 2 => self.isolate(other),
                _ => self.network.cut(Peer::Broker(broker), Peer::Broker(other)),
            }
        }
        let alone = self.random.one_in(2);
        let Some(shards) = &mut self.shard else { return false };
        shards.deaf = Some(index);
        shards.cut_off = Some(broker);
        shards.door = alone.then_some(1 - index);
        self.trace
            .say(|| format!("coordinator {index} and b{broker} are CUT OFF from everybody"));
        let (node, epoch) = (owner.id, owner.epoch);
        self.ask(Job::Fence(FenceNode { node, epoch }));
        self.silence();
        true
    }
}
