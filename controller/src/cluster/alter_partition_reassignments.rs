//! AlterPartitionReassignments (rule 107).

use std::collections::BTreeMap;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Partition};
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::cluster::{Command, Decision, Refusal, Settings, Steps, manual_assignment, reassignment};

/// A request to move partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterPartitionReassignments {
    /// The partitions.
    pub partitions: Vec<PartitionReassignment>,
    /// The number of replicas may change.
    pub allow_replication_factor_change: bool,
}

/// Where one partition shall go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReassignment {
    /// Name of the topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Its replicas, preferred leader first; `None` cancels what is under way.
    pub target: Option<Vec<NodeId>>,
}

/// What became of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReassignedPartition {
    /// Name of the topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Under way, or why not.
    pub result: Result<(), Refusal>,
}

impl Command for AlterPartitionReassignments {
    /// One result per partition, in the order of the request.
    type Reply = Vec<ReassignedPartition>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let mut named: BTreeMap<(&str, PartitionIndex), usize> = BTreeMap::new();
        for asked in &self.partitions {
            *named.entry((&asked.topic, asked.partition)).or_default() += 1;
        }
        let mut steps = Steps::new();
        let results = self.partitions.iter().map(|asked| {
            let result = match named.get(&(asked.topic.as_str(), asked.partition)) {
                Some(1) => self.reassign(image, settings, asked, &mut steps),
                _ => Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "Each partition must appear at most once.",
                )),
            };
            ReassignedPartition {
                topic: asked.topic.clone(),
                partition: asked.partition,
                result,
            }
        });
        let reply = results.collect();
        Decision {
            steps: steps.finish(),
            reply,
        }
    }
}

impl AlterPartitionReassignments {
    fn reassign(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        asked: &PartitionReassignment,
        steps: &mut Steps,
    ) -> Result<(), Refusal> {
        let unknown = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let name = &asked.topic;
        let topic = image
            .topic(name)
            .ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let partition = topic
            .partition(asked.partition)
            .ok_or_else(|| unknown(format!("Unable to find partition {name}:{}.", asked.partition)))?;
        let changed = match &asked.target {
            None => reassignment::cancel(image, settings, topic, asked.partition, partition)?,
            Some(target) => {
                manual_assignment::check_brokers(image, target)?;
                self.check_size(partition, target.len())?;
                reassignment::begin(image, settings, topic, partition, target)
            }
        };
        if changed != **partition {
            steps.push(Change::PutPartition(topic.id, asked.partition, changed));
        }
        Ok(())
    }

    fn check_size(&self, partition: &Partition, size: usize) -> Result<(), Refusal> {
        let current = partition.target_replicas().count();
        if self.allow_replication_factor_change || current == size {
            return Ok(());
        }
        let message = format!("The replication factor is changed from {current} to {size}");
        Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
    }
}
