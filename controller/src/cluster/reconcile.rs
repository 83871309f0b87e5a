//! What the image itself demands, whoever asked for what before: half-done fences, leaders on fenced nodes, sweeping
//! deleted topics, shards without an owner. Level-triggered: derived again on activation and after every command.

use std::collections::HashSet;

use highwater_proto::metadata::{Change, MetadataImage, NodeState, Topic, diff};
use highwater_proto::types::NodeId;

use crate::cluster::{Settings, Step, Steps, election, fence_node, reassignment, shards};

/// The next steps towards what the image demands, all of one kind; none when nothing is left to do. When they are
/// committed, the next kind may follow.
///
/// `settled` is an image for which this answered none (the empty image if there is none yet): only what differs from
/// it is looked at, so that the cost follows what changed.
#[must_use]
pub fn reconcile(settled: &MetadataImage, image: &MetadataImage, settings: &Settings) -> Vec<Step> {
    let mut steps = Steps::new();
    fences(image, settings, &mut steps);
    if steps.is_empty() {
        sweep(image, &mut steps);
    }
    if steps.is_empty() {
        partitions(settled, image, settings, &mut steps);
    }
    if steps.is_empty() {
        owners(settled, image, &mut steps);
    }
    steps.finish()
}

/// A controller stopped between `fencing` and `fenced`.
fn fences(image: &MetadataImage, settings: &Settings, steps: &mut Steps) {
    let Some(node) = image.nodes.values().find(|node| node.state == NodeState::Fencing) else {
        return;
    };
    fence_node::fence(image, settings, node.id, steps);
    steps.push(Change::PutNodeState(node.id, NodeState::Fenced));
}

/// Partition keys that exist for nobody: no command is between its steps now, so they are what a deletion or an
/// interrupted creation left.
fn sweep(image: &MetadataImage, steps: &mut Steps) {
    for (topic, index, _) in image.orphan_partitions() {
        // A topic whose own keys are missing is broken, not deleted: what is left of it stays for an administrator.
        if image
            .declared_partition_count(topic)
            .is_none_or(|declared| index.get() >= declared)
        {
            steps.push(Change::DeletePartition(topic, index));
        }
    }
}

fn partitions(settled: &MetadataImage, image: &MetadataImage, settings: &Settings, steps: &mut Steps) {
    let difference = diff(settled, image);
    // Whoever may lead depends on nodes and on configs as well; then every partition is looked at.
    let all = !difference.nodes.is_empty() || !difference.configs.is_empty();
    let live: HashSet<NodeId> = image.live_brokers().map(|node| node.id).collect();
    let is_live = |node: &NodeId| live.contains(node);
    let mut look_at = |topic: &Topic| {
        for (index, partition) in topic.indexed_partitions() {
            // Nearly all of them, of which there may be a million.
            let live = partition.leader.as_ref().is_some_and(is_live) && partition.isr.iter().all(is_live);
            if live && partition.elr.is_empty() && !partition.is_reassigning() {
                continue;
            }
            let repaired = election::repair(image, settings, topic, partition);
            let next = match repaired {
                // The leader hands over first: that takes time, which nobody has here.
                None if live && !reassignment::leader_leaves(partition) => {
                    reassignment::complete(image, settings, topic, partition)
                }
                repaired => repaired,
            };
            if let Some(next) = next {
                steps.push(Change::PutPartition(topic.id, index, next));
            }
        }
    };
    if all {
        image.topics().for_each(|topic| look_at(topic));
    } else {
        let changed = difference.topics_changed.iter().map(|(_, topic)| *topic);
        changed
            .chain(difference.topics_created.iter().copied())
            .for_each(|topic| look_at(topic));
    }
}

fn owners(settled: &MetadataImage, image: &MetadataImage, steps: &mut Steps) {
    let difference = diff(settled, image);
    let internal = difference
        .topics_created
        .iter()
        .chain(&difference.topics_deleted)
        .copied();
    let internal = internal.chain(difference.topics_changed.iter().map(|(_, topic)| *topic));
    let touched = internal
        .into_iter()
        .any(|topic| highwater_proto::types::is_internal_topic(&topic.name));
    if !touched && difference.nodes.is_empty() && difference.shards.is_empty() {
        return;
    }
    shards::assign(image, steps);
}
