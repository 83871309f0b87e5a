//! Who runs which coordinator shard: the partitions of the internal topics, spread over live coordinators with
//! minimal movement; every assignment has an epoch of its own.

use std::collections::BTreeMap;

use highwater_proto::metadata::{Change, MetadataImage, NodeState, ShardAssignment};
use highwater_proto::types::{CoordinatorEpoch, NodeId, PartitionIndex, ShardId, ShardKind};

use crate::cluster::Steps;

const KINDS: [ShardKind; 2] = [ShardKind::Group, ShardKind::Transaction];

/// Gives shards without a live owner an owner, and forgets shards whose partition is gone.
pub fn assign(image: &MetadataImage, steps: &mut Steps) {
    for id in image.shards.keys().filter(|id| !exists(image, **id)) {
        steps.push(Change::DeleteShard(*id));
    }
    for kind in KINDS {
        let mut plan = Plan::new(image, kind, None);
        plan.give_owners();
        plan.write(image, steps);
    }
}

/// A shard that goes from one live coordinator to another, which is planned: its owner is asked to release it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMove {
    /// The shard.
    pub shard: ShardId,
    /// The assignment that ends.
    pub epoch: CoordinatorEpoch,
    /// Its owner.
    pub from: NodeId,
    /// The next one.
    pub to: NodeId,
}

/// The moves that empty the coordinators that are being drained, and that even the others out until none has two shards
/// more than another. None while everything is as it should be.
#[must_use]
pub fn planned_moves(image: &MetadataImage) -> Vec<ShardMove> {
    KINDS
        .into_iter()
        .flat_map(|kind| planned_moves_of(image, kind))
        .collect()
}

fn planned_moves_of(image: &MetadataImage, kind: ShardKind) -> Vec<ShardMove> {
    if !image.live_coordinators().any(|node| node.state == NodeState::Active) {
        // Nobody takes any: better an owner that drains than none.
        return Vec::new();
    }
    let mut plan = Plan::new(image, kind, None);
    plan.empty_drained(image);
    plan.give_owners();
    plan.level();
    let planned = plan.ids().zip(&plan.owners);
    let moves = planned.filter_map(|(shard, owner)| {
        let before = image.shards.get(&shard)?;
        let (from, to) = (before.owner?, (*owner)?);
        let is_planned = from != to && image.node(from).is_some_and(|node| node.is_live());
        is_planned.then_some(ShardMove {
            shard,
            epoch: before.epoch,
            from,
            to,
        })
    });
    moves.collect()
}

/// Moves all shards of a coordinator to the other live ones.
pub(super) fn release_from(image: &MetadataImage, node: NodeId, steps: &mut Steps) {
    for kind in KINDS {
        let mut plan = Plan::new(image, kind, Some(node));
        plan.give_owners();
        plan.write(image, steps);
    }
}

fn exists(image: &MetadataImage, id: ShardId) -> bool {
    image
        .topic(id.kind.topic())
        .is_some_and(|topic| topic.partition(id.index).is_some())
}

/// Owners of one kind of shards, as they should be.
struct Plan {
    kind: ShardKind,
    owners: Vec<Option<NodeId>>,
    load: BTreeMap<NodeId, usize>,
}

impl Plan {
    fn new(image: &MetadataImage, kind: ShardKind, excluded: Option<NodeId>) -> Self {
        let live: Vec<_> = image
            .live_coordinators()
            .filter(|node| excluded != Some(node.id))
            .collect();
        let active = live.iter().filter(|node| node.state == NodeState::Active);
        let mut load: BTreeMap<NodeId, usize> = active.map(|node| (node.id, 0)).collect();
        if load.is_empty() {
            // Better a cordoned owner than none.
            load = live.iter().map(|node| (node.id, 0)).collect();
        }
        let count = image.topic(kind.topic()).map_or(0, |topic| topic.partitions.len());
        let mut owners = Vec::with_capacity(count);
        for index in (0..count).map(|index| PartitionIndex(index as i32)) {
            let owner = image
                .shards
                .get(&ShardId { kind, index })
                .and_then(|assignment| assignment.owner);
            let owner = owner.filter(|owner| {
                let node = image.node(*owner);
                excluded != Some(*owner) && node.is_some_and(|node| node.is_live())
            });
            if let Some(shards) = owner.and_then(|owner| load.get_mut(&owner)) {
                *shards += 1;
            }
            owners.push(owner);
        }
        Self { kind, owners, load }
    }

    fn ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        let kind = self.kind;
        (0..self.owners.len()).map(move |index| ShardId {
            kind,
            index: PartitionIndex(index as i32),
        })
    }

    /// Takes the shards of draining coordinators away.
    fn empty_drained(&mut self, image: &MetadataImage) {
        for owner in &mut self.owners {
            let drains = |id: NodeId| image.node(id).is_some_and(|node| node.state == NodeState::Draining);
            if owner.is_some_and(drains) {
                *owner = None;
            }
        }
    }

    fn least_loaded(&self) -> Option<NodeId> {
        self.load
            .iter()
            .min_by_key(|(id, shards)| (**shards, **id))
            .map(|(id, _)| *id)
    }

    fn give_owners(&mut self) {
        for position in 0..self.owners.len() {
            if self.owners[position].is_some() {
                continue;
            }
            let Some(owner) = self.least_loaded() else { return };
            self.owners[position] = Some(owner);
            *self.load.entry(owner).or_default() += 1;
        }
    }

    fn level(&mut self) {
        // Each round moves one shard from the fullest to the emptiest, so there are at most as many as shards.
        for _ in 0..self.owners.len() {
            let fullest = self
                .load
                .iter()
                .max_by_key(|(id, shards)| (**shards, std::cmp::Reverse(**id)));
            let (Some((from, most)), Some(to)) = (fullest.map(|(id, shards)| (*id, *shards)), self.least_loaded())
            else {
                return;
            };
            if most < self.load.get(&to).copied().unwrap_or(0) + 2 {
                return;
            }
            let Some(position) = self.owners.iter().rposition(|owner| *owner == Some(from)) else {
                return;
            };
            self.owners[position] = Some(to);
            self.load.entry(from).and_modify(|shards| *shards -= 1);
            self.load.entry(to).and_modify(|shards| *shards += 1);
        }
    }

    fn write(&self, image: &MetadataImage, steps: &mut Steps) {
        for (id, owner) in self.ids().zip(&self.owners) {
            let before = image.shards.get(&id).copied();
            if before.and_then(|assignment| assignment.owner) == *owner {
                continue;
            }
            let last = before.map_or(0, |assignment| assignment.epoch.get());
            // Taking the owner away is no assignment; the next owner gets the next epoch.
            let epoch = if owner.is_some() { last.saturating_add(1) } else { last };
            steps.push(Change::PutShard(
                id,
                ShardAssignment {
                    owner: *owner,
                    epoch: CoordinatorEpoch(epoch),
                },
            ));
        }
    }
}
