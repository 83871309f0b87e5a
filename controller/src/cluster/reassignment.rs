//! The life of a reassignment (design section 4): it begins, it is done when all target replicas are in the ISR, or it is
//! cancelled. Its state is in the image (`adding`, `removing`), so that it survives whoever began it.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{MetadataImage, Partition, Topic};
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::cluster::election::{self, Voters};
use crate::cluster::{Refusal, Settings};

/// The partition on its way to `target` (not empty, nobody twice), or there already. A reassignment that is under way
/// gets a new target.
pub(super) fn begin(
    image: &MetadataImage,
    settings: &Settings,
    topic: &Topic,
    partition: &Partition,
    target: &[NodeId],
) -> Partition {
    let originals: Vec<NodeId> = partition.original_replicas().collect();
    let mut changed = partition.clone();
    changed.replicas = target.to_vec();
    let leaving = originals.iter().filter(|node| !target.contains(node));
    changed.replicas.extend(leaving);
    changed
        .replicas
        .extend(still_needed(image, settings, topic, partition, target));
    changed.adding = difference(target, &originals);
    changed.removing = difference(&changed.replicas, target);
    let voters = Voters::new(image, settings, topic, partition);
    let isr = partition.isr.iter().copied();
    let isr = isr.filter(|node| changed.replicas.contains(node)).collect();
    drop_others(&voters, partition, &mut changed, isr);
    if leader_leaves(&changed) {
        return changed;
    }
    complete(image, settings, topic, &changed).unwrap_or(changed)
}

/// Replicas that the old target was adding and the new one does not want. They go at once, unless the ISR lives on
/// them: then they leave with the others.
fn still_needed(
    image: &MetadataImage,
    settings: &Settings,
    topic: &Topic,
    partition: &Partition,
    target: &[NodeId],
) -> Vec<NodeId> {
    let unwanted = difference(&partition.adding, target);
    let remaining = partition.isr.iter().filter(|node| !unwanted.contains(node)).count();
    if remaining == partition.isr.len() || remaining >= settings.min_isr(image, topic, partition) {
        return Vec::new();
    }
    unwanted
        .into_iter()
        .filter(|node| partition.isr.contains(node))
        .collect()
}

/// The partition back on the replicas that it had.
///
/// # Errors
/// `NO_REASSIGNMENT_IN_PROGRESS`, or `INVALID_REPLICA_ASSIGNMENT` if none of those replicas is in the ISR any more.
pub(super) fn cancel(
    image: &MetadataImage,
    settings: &Settings,
    topic: &Topic,
    index: PartitionIndex,
    partition: &Partition,
) -> Result<Partition, Refusal> {
    if !partition.is_reassigning() {
        let message = "No partition reassignment is in progress.";
        return Err(Refusal::new(ErrorCode::NoReassignmentInProgress, message));
    }
    let mut changed = partition.clone();
    changed.replicas = partition.original_replicas().collect();
    changed.adding.clear();
    changed.removing.clear();
    let isr: Vec<NodeId> = difference(&partition.isr, &partition.adding);
    let voters = Voters::new(image, settings, topic, partition);
    let headless = partition.leader.is_some() && !isr.iter().any(|node| voters.eligible(partition, *node));
    if isr.is_empty() || headless {
        let message = format!(
            "Unable to revert partition assignment for {}:{index} because it would require an unclean leader election.",
            topic.name
        );
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    drop_others(&voters, partition, &mut changed, isr);
    Ok(changed)
}

/// The partition with its reassignment done; `None` while there is none, or a target replica is not in sync, or none
/// of them can lead.
pub(super) fn complete(
    image: &MetadataImage,
    settings: &Settings,
    topic: &Topic,
    partition: &Partition,
) -> Option<Partition> {
    let reordered = partition.adding.is_empty() && partition.removing.is_empty();
    let targets: Vec<NodeId> = partition.target_replicas().collect();
    if reordered || !targets.iter().all(|node| partition.isr.contains(node)) {
        return None;
    }
    let mut changed = partition.clone();
    changed.replicas = targets.clone();
    changed.adding.clear();
    changed.removing.clear();
    // Min ISR is that of the new replication factor from here on.
    let voters = Voters::new(image, settings, topic, &changed);
    if !targets.iter().any(|node| voters.eligible(partition, *node)) {
        return None;
    }
    drop_others(&voters, partition, &mut changed, targets);
    changed.leader.is_some().then_some(changed)
}

/// True if the reassignment ends with another leader: the present one hands over first.
pub(super) fn leader_leaves(partition: &Partition) -> bool {
    partition
        .leader
        .is_some_and(|leader| partition.removing.contains(&leader))
}

/// Takes out of the partition what is no replica of it any more; if the leader goes, the first replica of the ISR
/// that can takes its place. A replica that goes deletes what it has: the leader epoch rises, so that a leader that sees
/// it go and come back in one step does not count what it had fetched before (Apache Kafka raises it as well).
fn drop_others(voters: &Voters<'_>, before: &Partition, partition: &mut Partition, isr: Vec<NodeId>) {
    let replicas = partition.replicas.clone();
    let stays = |node: &NodeId| replicas.contains(node);
    partition.offline_replicas.retain(stays);
    partition.elr.retain(stays);
    partition.last_known_leader = partition.last_known_leader.filter(stays);
    voters.set_isr(partition, isr);
    if partition.leader.is_some_and(|leader| !stays(&leader)) {
        let mut members = partition.isr.iter().copied();
        let next = members.find(|node| voters.eligible(partition, *node));
        election::set_leader(partition, next);
        partition.last_known_leader = partition.last_known_leader.filter(stays);
    }
    if partition.leader_epoch == before.leader_epoch && !before.replicas.iter().all(stays) {
        election::set_leader(partition, partition.leader);
    }
}

fn difference(of: &[NodeId], without: &[NodeId]) -> Vec<NodeId> {
    of.iter().copied().filter(|node| !without.contains(node)).collect()
}
