//! Replica lists that a client gives itself (rules 103 and 104).

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{MetadataImage, NodeRole};
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::cluster::Refusal;

/// The replicas of one partition, preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualAssignment {
    /// The partition.
    pub partition: PartitionIndex,
    /// Its replicas.
    pub brokers: Vec<NodeId>,
}

/// Replica lists of a new topic in the order of the partitions.
pub(super) fn of_new_topic(
    image: &MetadataImage,
    assignments: &[ManualAssignment],
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let mut sorted: Vec<&ManualAssignment> = assignments.iter().collect();
    sorted.sort_by_key(|assignment| assignment.partition);
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0].partition == pair[1].partition) {
        let partition = twice[0].partition;
        let message = format!("Found multiple manual partition assignments for partition {partition}");
        return Err(refused(message));
    }
    let mut expected = sorted.first().map(|assignment| assignment.brokers.len());
    for assignment in assignments {
        check(image, assignment, &mut expected)?;
    }
    if (0..)
        .zip(&sorted)
        .any(|(index, assignment)| assignment.partition.get() != index)
    {
        return Err(refused("partitions should be a consecutive 0-based integer sequence"));
    }
    Ok(sorted
        .into_iter()
        .map(|assignment| assignment.brokers.clone())
        .collect())
}

/// Replica lists of partitions that join a topic whose partitions have `replication_factor` replicas.
pub(super) fn of_new_partitions(
    image: &MetadataImage,
    assignments: &[ManualAssignment],
    replication_factor: usize,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let mut expected = Some(replication_factor);
    for assignment in assignments {
        check(image, assignment, &mut expected)?;
    }
    Ok(assignments
        .iter()
        .map(|assignment| assignment.brokers.clone())
        .collect())
}

fn check(image: &MetadataImage, assignment: &ManualAssignment, expected: &mut Option<usize>) -> Result<(), Refusal> {
    let brokers = &assignment.brokers;
    check_brokers(image, brokers)?;
    let expected = *expected.get_or_insert(brokers.len());
    if expected != brokers.len() {
        return Err(refused(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {expected} replica(s).",
            brokers.len()
        )));
    }
    if brokers.iter().all(|broker| image.live_broker(*broker).is_none()) {
        return Err(refused(format!(
            "All brokers specified in the manual partition assignment for partition {} are fenced or in controlled \
             shutdown.",
            assignment.partition
        )));
    }
    Ok(())
}

/// Checks that a replica list names registered brokers, each once.
pub(super) fn check_brokers(image: &MetadataImage, brokers: &[NodeId]) -> Result<(), Refusal> {
    if brokers.is_empty() {
        return Err(refused(
            "The manual partition assignment includes an empty replica list.",
        ));
    }
    let mut sorted = brokers.to_vec();
    sorted.sort_unstable();
    for (position, broker) in sorted.iter().enumerate() {
        if position > 0 && sorted[position - 1] == *broker {
            let message = format!("The manual partition assignment includes the broker {broker} more than once.");
            return Err(refused(message));
        }
        if image
            .node(*broker)
            .is_none_or(|node| node.registration.role != NodeRole::Broker)
        {
            let message =
                format!("The manual partition assignment includes broker {broker}, but no such broker is registered.");
            return Err(refused(message));
        }
    }
    Ok(())
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
}
