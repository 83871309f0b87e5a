//! What the planner found is carried out, some moves at a time.

use std::collections::BTreeMap;

use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::cluster::planner::{Load, PlannedMove};
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

/// How much is copied at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyLimits {
    /// Partitions for each broker that copies.
    pub moves_per_broker: usize,
    /// Bytes of these. One partition is copied, however large it is.
    pub bytes_per_broker: u64,
    /// Moves that begin at once.
    pub moves: usize,
}

/// What a broker copies.
#[derive(Clone, Copy, Default)]
struct Copying {
    moves: usize,
    bytes: u64,
}

impl Copying {
    fn takes(&self, bytes: u64, limits: CopyLimits) -> bool {
        let bytes_fit = self.bytes.saturating_add(bytes) <= limits.bytes_per_broker;
        self.moves == 0 || (self.moves < limits.moves_per_broker && bytes_fit)
    }

    fn add(&mut self, bytes: u64) {
        self.moves += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The moves of a plan that may begin now. Changes of the order alone are no copies.
#[must_use]
pub fn next_moves(image: &MetadataImage, planned: &[PlannedMove], load: &Load, limits: CopyLimits) -> Vec<PlannedMove> {
    let bytes = |key: &TopicPartition| load.get(key).copied().unwrap_or_default();
    let mut copying: BTreeMap<NodeId, Copying> = BTreeMap::new();
    for topic in image.topics() {
        for (partition, state) in topic.indexed_partitions() {
            for node in &state.adding {
                let key = TopicPartition {
                    topic_id: topic.id,
                    partition,
                };
                copying.entry(*node).or_default().add(bytes(&key));
            }
        }
    }
    let mut next = Vec::new();
    for planned in planned {
        if next.len() == limits.moves {
            break;
        }
        let bytes = bytes(&planned.key);
        let busy = |node: &NodeId| copying.get(node).is_some_and(|copying| !copying.takes(bytes, limits));
        if planned.copies.iter().any(busy) {
            continue;
        }
        for node in &planned.copies {
            copying.entry(*node).or_default().add(bytes);
        }
        next.push(planned.clone());
    }
    next
}
