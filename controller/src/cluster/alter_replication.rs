//! Another replication factor for a topic: the controller picks the replicas that join or leave.

use std::collections::BTreeMap;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, NodeState, Partition, Topic};
use highwater_proto::types::NodeId;

use crate::cluster::owned_topic::TopicTask;
use crate::cluster::{Decision, Refusal, Settings, Steps, planner, reassignment};

/// Every partition of the topic gets so many replicas. Asked again it changes nothing; another factor replaces what is
/// under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlterReplication {
    /// Replicas per partition.
    pub replication_factor: i32,
}

impl TopicTask for AlterReplication {
    type Done = ();

    fn decide(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        topic: &Topic,
        _: Option<&str>,
    ) -> Decision<Result<(), Refusal>> {
        let refuse = |message| {
            let refusal = Refusal::new(ErrorCode::InvalidReplicationFactor, message);
            Decision::unchanged(Err(refusal))
        };
        let Some(factor) = usize::try_from(self.replication_factor)
            .ok()
            .filter(|factor| *factor > 0)
        else {
            return refuse("Replication factor must be larger than 0.".to_owned());
        };
        let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
        for partition in image.topics().flat_map(|topic| &topic.partitions) {
            partition
                .target_replicas()
                .for_each(|node| *counts.entry(node).or_default() += 1);
        }
        let mut steps = Steps::new();
        for (index, partition) in topic.indexed_partitions() {
            let Some(target) = resize(image, &mut counts, partition, factor) else {
                let takers = image.brokers().filter(|node| node.state == NodeState::Active).count();
                return refuse(format!(
                    "The target replication factor of {factor} cannot be reached because only {takers} broker(s) take \
                     replicas."
                ));
            };
            if !partition.target_replicas().eq(target.iter().copied()) {
                let changed = reassignment::begin(image, settings, topic, partition, &target);
                steps.push(Change::PutPartition(topic.id, index, changed));
            }
        }
        Decision {
            steps: steps.finish(),
            reply: Ok(()),
        }
    }
}

/// The replicas of a partition, made more or fewer; `None` if no broker takes one more.
fn resize(
    image: &MetadataImage,
    counts: &mut BTreeMap<NodeId, usize>,
    partition: &Partition,
    factor: usize,
) -> Option<Vec<NodeId>> {
    let mut target: Vec<NodeId> = partition.target_replicas().collect();
    while target.len() < factor {
        let taker = planner::pick(image, counts, &target)?;
        *counts.entry(taker).or_default() += 1;
        target.push(taker);
    }
    while target.len() > factor {
        let candidates = target.iter().copied().enumerate();
        let least = candidates
            .max_by_key(|(position, node)| worth_less(image, counts, partition, &target, *position, *node))?;
        target.remove(least.0);
        counts
            .entry(least.1)
            .and_modify(|count| *count = count.saturating_sub(1));
    }
    Some(target)
}

/// Who leaves first, compared from left to right: who is to be emptied, who is gone or out of sync, who shares a rack,
/// who has most; the preferred leader last.
fn worth_less(
    image: &MetadataImage,
    counts: &BTreeMap<NodeId, usize>,
    partition: &Partition,
    target: &[NodeId],
    position: usize,
    node: NodeId,
) -> (bool, bool, bool, bool, usize, usize) {
    let known = image.node(node);
    let rack = |id: NodeId| image.node(id).and_then(|node| node.registration.rack.as_deref());
    let own = rack(node);
    let drains = known.is_none_or(|node| node.state == NodeState::Draining);
    let lost = known.is_none_or(|node| !node.is_live()) || !partition.isr.contains(&node);
    let shares_rack = own.is_some() && target.iter().any(|other| *other != node && rack(*other) == own);
    let count = counts.get(&node).copied().unwrap_or_default();
    (drains, lost, position > 0, shares_rack, count, position)
}
