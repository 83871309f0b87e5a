//! One change of the metadata, to and from the wire.

use super::{ConvertError, hash_map, partition_index, present, topic_id, uuid_bytes};
use crate::grpc;
use crate::metadata::*;
use crate::types::*;

/// A change for the wire; `modified` is the revision of its key (0 in a delta, whose own revision counts).
#[must_use]
#[expect(clippy::too_many_lines, reason = "one arm per kind of change")]
pub fn change_to_grpc(modified: Revision, change: &Change) -> grpc::Change {
    use grpc::change::Change as Wire;
    let wire = match change {
        Change::PutCluster(info) => Wire::PutCluster(info.into()),
        Change::PutNodeRegistration(id, registration) => {
            let registration = Some(registration.into());
            Wire::PutNodeRegistration(grpc::change::PutNodeRegistration {
                id: id.get(),
                registration,
                epoch: modified.get(),
            })
        }
        Change::PutNodeState(id, state) => Wire::PutNodeState(grpc::change::PutNodeState {
            id: id.get(),
            state: Some((*state).into()),
        }),
        Change::PutNodeDisk(id, disk) => Wire::PutNodeDisk(grpc::change::PutNodeDisk {
            id: id.get(),
            disk: Some((*disk).into()),
        }),
        Change::PutNodeDuty(id, duty) => Wire::PutNodeDuty(grpc::change::PutNodeDuty {
            id: id.get(),
            duty: Some((*duty).into()),
        }),
        Change::DeleteNode(id) => Wire::DeleteNode(id.get()),
        Change::PutTopic {
            name,
            topic_id,
            partition_count,
            configs,
            owner,
        } => {
            let topic_id = uuid_bytes(topic_id.0);
            let topic = grpc::Topic {
                topic_id,
                partition_count: *partition_count,
                configs: hash_map(configs),
                owner: owner.clone(),
            };
            Wire::PutTopic(grpc::change::PutTopic {
                name: name.clone(),
                topic: Some(topic),
            })
        }
        Change::DeleteTopic { name, topic_id } => Wire::DeleteTopic(grpc::change::DeleteTopic {
            name: name.clone(),
            topic_id: uuid_bytes(topic_id.0),
        }),
        Change::PutPartition(topic, index, partition) => {
            let partition = Some(grpc::Partition {
                epoch: modified.get(),
                ..partition.into()
            });
            let topic_id = uuid_bytes(topic.0);
            Wire::PutPartition(grpc::change::PutPartition {
                topic_id,
                index: index.get(),
                partition,
            })
        }
        Change::DeletePartition(topic, index) => {
            let topic_id = uuid_bytes(topic.0);
            Wire::DeletePartition(grpc::change::DeletePartition {
                topic_id,
                index: index.get(),
            })
        }
        Change::PutShard(id, assignment) => {
            let assignment = Some((*assignment).into());
            Wire::PutShard(grpc::change::PutShard {
                id: Some((*id).into()),
                assignment,
            })
        }
        Change::DeleteShard(id) => Wire::DeleteShard((*id).into()),
        Change::PutConfig(resource, values) => {
            let values = Some(grpc::ConfigValues {
                values: hash_map(values),
            });
            Wire::PutConfig(grpc::change::PutConfig {
                resource: Some(resource.into()),
                values,
            })
        }
        Change::DeleteConfig(resource) => Wire::DeleteConfig(resource.into()),
        Change::PutRebalance(wanted) => Wire::PutRebalance(wanted.into()),
        Change::PutProducerIds(next) => Wire::PutProducerIds(grpc::ProducerIds { next: next.get() }),
    };
    grpc::Change { change: Some(wire) }
}

/// A change from the wire, with the revision of its key where the wire carries one (snapshots), else 0.
///
/// # Errors
/// If a field is missing or out of range.
pub fn change_from_grpc(change: grpc::Change) -> Result<(Revision, Change), ConvertError> {
    use grpc::change::Change as Wire;
    let mut modified = Revision(0);
    let change = match present(change.change, "change")? {
        Wire::PutCluster(info) => Change::PutCluster(info.into()),
        Wire::PutNodeRegistration(put) => {
            modified = Revision(put.epoch);
            Change::PutNodeRegistration(NodeId(put.id), present(put.registration, "registration")?.try_into()?)
        }
        Wire::PutNodeState(put) => Change::PutNodeState(NodeId(put.id), present(put.state, "node state")?.try_into()?),
        Wire::PutNodeDisk(put) => Change::PutNodeDisk(NodeId(put.id), present(put.disk, "node disk")?.into()),
        Wire::PutNodeDuty(put) => Change::PutNodeDuty(NodeId(put.id), present(put.duty, "node duty")?.try_into()?),
        Wire::DeleteNode(id) => Change::DeleteNode(NodeId(id)),
        Wire::PutTopic(put) => {
            let topic = present(put.topic, "topic")?;
            if topic.partition_count < 0 {
                return Err(ConvertError::OutOfRange("partition_count"));
            }
            Change::PutTopic {
                name: put.name,
                topic_id: topic_id(&topic.topic_id)?,
                partition_count: topic.partition_count,
                configs: topic.configs.into_iter().collect(),
                owner: topic.owner,
            }
        }
        Wire::DeleteTopic(delete) => Change::DeleteTopic {
            name: delete.name,
            topic_id: topic_id(&delete.topic_id)?,
        },
        Wire::PutPartition(put) => {
            let partition = present(put.partition, "partition")?;
            modified = Revision(partition.epoch);
            Change::PutPartition(topic_id(&put.topic_id)?, partition_index(put.index)?, partition.into())
        }
        Wire::DeletePartition(delete) => {
            Change::DeletePartition(topic_id(&delete.topic_id)?, partition_index(delete.index)?)
        }
        Wire::PutShard(put) => {
            let id = present(put.id, "shard")?.try_into()?;
            Change::PutShard(id, present(put.assignment, "assignment")?.into())
        }
        Wire::DeleteShard(id) => Change::DeleteShard(id.try_into()?),
        Wire::PutConfig(put) => {
            let values = present(put.values, "values")?.values.into_iter().collect();
            Change::PutConfig(present(put.resource, "config resource")?.try_into()?, values)
        }
        Wire::DeleteConfig(resource) => Change::DeleteConfig(resource.try_into()?),
        Wire::PutRebalance(put) => Change::PutRebalance(put.into()),
        Wire::PutProducerIds(ids) => Change::PutProducerIds(ProducerId(ids.next)),
    };
    Ok((modified, change))
}
