//! CreatePartitions (rule 104).

use std::collections::BTreeMap;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Topic};
use highwater_proto::types::PartitionIndex;

use crate::cluster::placement::{Placement, new_partition};
use crate::cluster::{
    Command, Decision, MAX_PARTITIONS_PER_REQUEST, ManualAssignment, Refusal, Settings, Steps, manual_assignment,
};

/// A request for more partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatePartitions {
    /// The topics.
    pub topics: Vec<TopicGrowth>,
    /// Answer as if, but create nothing.
    pub validate_only: bool,
}

/// One topic that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicGrowth {
    /// Name.
    pub name: String,
    /// The new partition count.
    pub count: i32,
    /// Replica lists of the partitions that join, in their order; `None`: placed by us. Their partition numbers are
    /// only for messages.
    pub assignments: Option<Vec<ManualAssignment>>,
}

/// What became of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrownTopic {
    /// Name.
    pub name: String,
    /// Grown, or why not.
    pub result: Result<(), Refusal>,
}

impl Command for CreatePartitions {
    /// One result per name, in the order of the request.
    type Reply = Vec<GrownTopic>;

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<Self::Reply> {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &self.topics {
            *names.entry(&topic.name).or_default() += 1;
        }
        let mut placement = Placement::new(image);
        let mut steps = Steps::new();
        let mut added = 0;
        let mut results = Vec::with_capacity(self.topics.len());
        for growth in &self.topics {
            let result = match names.get_mut(growth.name.as_str()) {
                Some(1) => grow(image, growth, &mut placement, &mut added, &mut steps),
                Some(count) if *count > 1 => {
                    *count = 0;
                    Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
                }
                _ => continue,
            };
            results.push(GrownTopic {
                name: growth.name.clone(),
                result,
            });
        }
        let steps = if self.validate_only { Vec::new() } else { steps.finish() };
        Decision { steps, reply: results }
    }
}

fn grow<'a>(
    image: &'a MetadataImage,
    growth: &TopicGrowth,
    placement: &mut Placement<'a>,
    added: &mut usize,
    steps: &mut Steps,
) -> Result<(), Refusal> {
    let Some(topic) = image.topic(&growth.name) else {
        let message = "This server does not host this topic-partition.";
        return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
    };
    let current = topic.partitions.len() as i32;
    let missing = image.declared_partition_count(topic.id) != Some(current);
    if growth.count <= current || missing {
        let message = if growth.count == current {
            format!("Topic already has {current} partition(s).")
        } else {
            format!(
                "The topic {} currently has {current} partition(s); {} would not be an increase.",
                growth.name, growth.count
            )
        };
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let additional = usize::try_from(growth.count - current).unwrap_or(0);
    *added = added.saturating_add(additional);
    if *added > MAX_PARTITIONS_PER_REQUEST {
        let message = "Excessively large number of partitions per request.";
        return Err(Refusal::new(ErrorCode::PolicyViolation, message));
    }
    let replication_factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let replicas = match &growth.assignments {
        Some(assignments) if assignments.len() != additional => {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Some(assignments) => manual_assignment::of_new_partitions(image, assignments, replication_factor)?,
        None => {
            placement.check(replication_factor)?;
            placement.begin_topic(Some(topic));
            (0..additional).map(|_| placement.place(replication_factor)).collect()
        }
    };
    // The count goes up last: until then the new partitions exist for nobody.
    let mut group: Vec<Change> = (current..)
        .zip(replicas)
        .map(|(index, replicas)| Change::PutPartition(topic.id, PartitionIndex(index), new_partition(image, replicas)))
        .collect();
    group.push(put_count(topic, growth.count));
    steps.push_group(group);
    Ok(())
}

fn put_count(topic: &Topic, count: i32) -> Change {
    Change::PutTopic {
        name: topic.name.to_string(),
        topic_id: topic.id,
        partition_count: count,
        configs: (*topic.configs).clone(),
        owner: topic.owner.clone(),
    }
}
