//! The planner (design section 4): which replicas move so that draining brokers become empty and replicas, leaders and
//! bytes are even over the brokers, with the fewest moves. A pure function of the image and of what partitions weigh:
//! what is under way counts as done, so that a plan that is carried out in part is gone on with by the next one.

mod bytes;
mod leaders;
mod replicas;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use highwater_proto::metadata::{MetadataImage, Node, NodeDisk, NodeState, Partition};
use highwater_proto::types::{NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicPartition};

/// Bytes of partitions, as far as they are known.
pub type Load = BTreeMap<TopicPartition, u64>;

/// What a plan is for. Draining brokers are always emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Even out replicas, bytes and leaders.
    pub balance: bool,
    /// Only these brokers get more by that; empty = all. Draining brokers are emptied wherever there is room.
    pub onto: Vec<NodeId>,
    /// Moves beyond that are left to the next plan.
    pub max_moves: usize,
}

impl PlanOptions {
    fn may_get(&self, node: NodeId) -> bool {
        self.onto.is_empty() || self.onto.contains(&node)
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Partitions with their new replicas, those of draining brokers first.
    pub moves: Vec<PlannedMove>,
    /// Replicas that cannot leave their draining broker: no other broker takes them.
    pub stuck: Vec<(NodeId, TopicPartition)>,
}

/// A partition with other replicas, or with another preferred leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMove {
    /// The partition.
    pub key: TopicPartition,
    /// The state that was planned on.
    pub epoch: PartitionEpoch,
    /// Its replicas, preferred leader first.
    pub target: Vec<NodeId>,
    /// Those among them that have to copy the partition.
    pub copies: Vec<NodeId>,
}

/// Makes a plan.
#[must_use]
pub fn plan(image: &MetadataImage, load: &Load, options: &PlanOptions) -> Plan {
    let mut board = Board::new(image, load);
    let mut stuck = Vec::new();
    replicas::drain(&mut board, options, &mut stuck);
    if options.balance {
        replicas::level(&mut board, options);
        bytes::level(&mut board, options);
        leaders::level(&mut board, options);
    }
    Plan {
        moves: board.moves(),
        stuck,
    }
}

/// Who takes one more replica of a partition that is on `others` already: a broker of a rack that is not there yet,
/// with the fewest replicas. `None` if every broker that takes replicas has one.
#[must_use]
pub fn pick(image: &MetadataImage, counts: &BTreeMap<NodeId, usize>, others: &[NodeId]) -> Option<NodeId> {
    let takers = image.brokers().filter(|node| takes_replicas(node));
    let free = takers.filter(|node| !others.contains(&node.id));
    let rack = |id: &NodeId| image.node(*id).and_then(|node| node.registration.rack.as_deref());
    let cost = |node: &&std::sync::Arc<Node>| {
        let own = node.registration.rack.as_deref();
        let taken = own.is_some() && others.iter().any(|id| rack(id) == own);
        (taken, counts.get(&node.id).copied().unwrap_or_default(), node.id)
    };
    free.min_by_key(cost).map(|node| node.id)
}

fn takes_replicas(node: &Node) -> bool {
    node.state == NodeState::Active && node.disk == NodeDisk::default()
}

/// A broker while a plan is made.
struct Seat<'a> {
    id: NodeId,
    rack: Option<&'a str>,
    replicas: usize,
    preferred: usize,
    bytes: u64,
}

/// A partition while a plan is made.
struct Slot<'a> {
    key: TopicPartition,
    partition: &'a Partition,
    /// Position of its topic in the image.
    topic: u32,
    bytes: u64,
    /// Not the replicas that it has, or will have once what is under way is done.
    target: Option<Vec<NodeId>>,
}

/// The cluster while a plan is made: brokers that take replicas, and all partitions.
struct Board<'a> {
    image: &'a MetadataImage,
    seats: Vec<Seat<'a>>,
    seat_of: HashMap<NodeId, usize>,
    slots: Vec<Slot<'a>>,
    /// Replicas by topic and seat.
    of_topic: HashMap<(u32, usize), usize>,
    /// Slots that were changed, in the order in which they were.
    changed: Vec<usize>,
}

impl<'a> Board<'a> {
    fn new(image: &'a MetadataImage, load: &Load) -> Self {
        let takers = image.brokers().filter(|node| takes_replicas(node));
        let seat = |node: &'a std::sync::Arc<Node>| Seat {
            id: node.id,
            rack: node.registration.rack.as_deref(),
            replicas: 0,
            preferred: 0,
            bytes: 0,
        };
        let seats: Vec<_> = takers.map(seat).collect();
        let seat_of = seats.iter().enumerate().map(|(seat, it)| (it.id, seat)).collect();
        let mut board = Self {
            image,
            seats,
            seat_of,
            slots: Vec::with_capacity(image.partition_count()),
            of_topic: HashMap::new(),
            changed: Vec::new(),
        };
        for (position, topic) in (0..).zip(image.topics()) {
            for (index, partition) in topic.indexed_partitions() {
                board.add(position, topic.id, index, partition, load);
            }
        }
        board
    }

    fn add(
        &mut self,
        topic: u32,
        topic_id: TopicId,
        partition_index: PartitionIndex,
        partition: &'a Partition,
        load: &Load,
    ) {
        let key = TopicPartition {
            topic_id,
            partition: partition_index,
        };
        let bytes = load.get(&key).copied().unwrap_or_default();
        for (position, node) in partition.target_replicas().enumerate() {
            let Some(seat) = self.seat_of.get(&node).copied() else {
                continue;
            };
            self.seats[seat].replicas += 1;
            self.seats[seat].preferred += usize::from(position == 0);
            self.seats[seat].bytes = self.seats[seat].bytes.saturating_add(bytes);
            *self.of_topic.entry((topic, seat)).or_default() += 1;
        }
        self.slots.push(Slot {
            key,
            partition,
            topic,
            bytes,
            target: None,
        });
    }

    /// The replicas that a partition will have.
    fn target(&self, slot: usize) -> Vec<NodeId> {
        let slot = &self.slots[slot];
        match &slot.target {
            Some(target) => target.clone(),
            None => slot.partition.target_replicas().collect(),
        }
    }

    /// True if the partition may be planned with: what is on its way is left alone.
    fn is_free(&self, slot: usize) -> bool {
        !self.slots[slot].partition.is_reassigning()
    }

    fn set_target(&mut self, slot: usize, target: Vec<NodeId>) {
        if self.slots[slot].target.is_none() {
            self.changed.push(slot);
        }
        self.slots[slot].target = Some(target);
    }

    /// Puts `to` in the place of `from`.
    fn replace(&mut self, slot: usize, from: NodeId, to: usize) {
        let mut target = self.target(slot);
        let Some(position) = target.iter().position(|node| *node == from) else {
            return;
        };
        target[position] = self.seats[to].id;
        self.set_target(slot, target);
        let (topic, bytes) = (self.slots[slot].topic, self.slots[slot].bytes);
        let first = usize::from(position == 0);
        if let Some(from) = self.seat_of.get(&from).copied() {
            let seat = &mut self.seats[from];
            seat.replicas -= 1;
            seat.preferred -= first;
            seat.bytes = seat.bytes.saturating_sub(bytes);
            self.of_topic.entry((topic, from)).and_modify(|count| *count -= 1);
        }
        let seat = &mut self.seats[to];
        seat.replicas += 1;
        seat.preferred += first;
        seat.bytes = seat.bytes.saturating_add(bytes);
        *self.of_topic.entry((topic, to)).or_default() += 1;
    }

    fn of_topic(&self, slot: usize, seat: usize) -> usize {
        let key = (self.slots[slot].topic, seat);
        self.of_topic.get(&key).copied().unwrap_or_default()
    }

    fn rack(&self, node: NodeId) -> Option<&'a str> {
        self.image.node(node).and_then(|node| node.registration.rack.as_deref())
    }

    /// True if one of these replicas, `from` aside, is in the rack.
    fn rack_taken(&self, rack: Option<&str>, replicas: &[NodeId], from: NodeId) -> bool {
        rack.is_some() && replicas.iter().any(|node| *node != from && self.rack(*node) == rack)
    }

    fn moves(&self) -> Vec<PlannedMove> {
        let mut moves = Vec::with_capacity(self.changed.len());
        for slot in &self.changed {
            let target = self.target(*slot);
            let slot = &self.slots[*slot];
            if slot.partition.target_replicas().eq(target.iter().copied()) {
                continue;
            }
            let copies = target.iter().copied();
            let copies = copies.filter(|node| !slot.partition.replicas.contains(node)).collect();
            moves.push(PlannedMove {
                key: slot.key,
                epoch: slot.partition.epoch,
                target,
                copies,
            });
        }
        moves
    }
}
