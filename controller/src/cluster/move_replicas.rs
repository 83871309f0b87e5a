//! What the planner found is carried out, some moves at a time.

use std::collections::BTreeMap;

use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::NodeId;

use crate::cluster::planner::PlannedMove;
use crate::cluster::{Command, Decision, Settings, Steps, reassignment};

/// Moves begin, where nothing has changed since they were planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveReplicas {
    /// The moves.
    pub moves: Vec<PlannedMove>,
}

impl Command for MoveReplicas {
    /// How many began.
    type Reply = usize;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<usize> {
        let mut steps = Steps::new();
        let mut begun = 0;
        for planned in &self.moves {
            let key = planned.key;
            let topic = image.topic_by_id(key.topic_id);
            let Some((topic, partition)) = topic.and_then(|topic| Some((topic, topic.partition(key.partition)?)))
            else {
                continue;
            };
            let known = |node: &NodeId| image.node(*node).is_some();
            if partition.epoch != planned.epoch || partition.is_reassigning() || !planned.copies.iter().all(known) {
                continue;
            }
            let changed = reassignment::begin(image, settings, topic, partition, &planned.target);
            steps.push(Change::PutPartition(topic.id, key.partition, changed));
            begun += 1;
        }
        Decision {
            steps: steps.finish(),
            reply: begun,
        }
    }
}

/// The moves of a plan that may begin now: so many copies at a time for each broker that copies. Changes of the order
/// alone are no copies.
#[must_use]
pub fn next_moves(image: &MetadataImage, planned: &[PlannedMove], per_broker: usize, limit: usize) -> Vec<PlannedMove> {
    let mut copying: BTreeMap<NodeId, usize> = BTreeMap::new();
    for partition in image.topics().flat_map(|topic| &topic.partitions) {
        for node in &partition.adding {
            *copying.entry(*node).or_default() += 1;
        }
    }
    let mut next = Vec::new();
    for planned in planned {
        if next.len() == limit {
            break;
        }
        let busy = |node: &NodeId| copying.get(node).is_some_and(|count| *count >= per_broker);
        if planned.copies.iter().any(busy) {
            continue;
        }
        for node in &planned.copies {
            *copying.entry(*node).or_default() += 1;
        }
        next.push(planned.clone());
    }
    next
}

/// A rebalance is wanted, or is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantRebalance {
    /// True if it is wanted.
    pub wanted: bool,
}

impl Command for WantRebalance {
    type Reply = ();

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<()> {
        if image.rebalance == self.wanted {
            return Decision::unchanged(());
        }
        Decision {
            steps: vec![vec![Change::PutRebalance(self.wanted)]],
            reply: (),
        }
    }
}
