//! Keys and values of the store (design section 3): the names of the keys, and prost messages as values.

use std::str::FromStr;

use bytes::Bytes;
use highwater_proto::grpc;
use highwater_proto::metadata::convert::{self, ConvertError};
use highwater_proto::metadata::{
    Change, ConfigResource, MetadataImage, MetadataSnapshot, MetadataUpdate, SnapshotEntry,
};
use highwater_proto::types::{NodeId, PartitionIndex, ProducerId, Revision, ShardId, ShardKind, TopicId};
use prost::Message;
use uuid::Uuid;

use crate::store::{Entry, Key, Loaded, Operation, WatchEvent};

const CLUSTER: &str = "cluster";
const PRODUCER_IDS: &str = "producer-ids";
const REBALANCE: &str = "rebalance";
const ALL_BROKERS: &str = "<default>";
/// Partitions' keys begin so.
pub const PARTITION_PREFIX: &str = "partitions/";
/// Keys of the election are the store's own.
pub const ELECTION_PREFIX: &str = "election/";

/// A key or value that this release cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A key that is none of ours.
    #[error("unknown key {0}")]
    UnknownKey(Key),
    /// A value that is not the message it should be.
    #[error("value of key {key}: {source}")]
    Undecodable {
        /// The key.
        key: Key,
        /// What prost says.
        source: prost::DecodeError,
    },
    /// A value out of range.
    #[error("value of key {key}: {source}")]
    Invalid {
        /// The key.
        key: Key,
        /// What is wrong.
        source: ConvertError,
    },
}

fn registration_key(id: NodeId) -> Key {
    format!("nodes/{id}/registration")
}

fn state_key(id: NodeId) -> Key {
    format!("nodes/{id}/state")
}

fn disk_key(id: NodeId) -> Key {
    format!("nodes/{id}/disk")
}

fn duty_key(id: NodeId) -> Key {
    format!("nodes/{id}/duty")
}

fn topic_key(name: &str) -> Key {
    format!("topics/{name}")
}

/// Key of a partition.
#[must_use]
pub fn partition_key(topic: TopicId, index: PartitionIndex) -> Key {
    format!("partitions/{}/{index}", topic.0.simple())
}

fn shard_key(id: ShardId) -> Key {
    let kind = match id.kind {
        ShardKind::Group => "group",
        ShardKind::Transaction => "transaction",
    };
    format!("shards/{kind}/{}", id.index)
}

fn config_key(resource: &ConfigResource) -> Key {
    match resource {
        ConfigResource::ClusterDefault => format!("configs/broker/{ALL_BROKERS}"),
        ConfigResource::Broker(id) => format!("configs/broker/{id}"),
        ConfigResource::Group(name) => format!("configs/group/{name}"),
    }
}

/// The writes of a change.
#[must_use]
pub fn operations(change: &Change) -> Vec<Operation> {
    let put = |key: Key, value: Vec<u8>| vec![Operation::Put(key, value.into())];
    match change {
        Change::PutCluster(info) => put(CLUSTER.to_owned(), grpc::ClusterInfo::from(info).encode_to_vec()),
        Change::PutNodeRegistration(id, registration) => put(
            registration_key(*id),
            grpc::NodeRegistration::from(registration).encode_to_vec(),
        ),
        Change::PutNodeState(id, state) => put(state_key(*id), grpc::NodeState::from(*state).encode_to_vec()),
        Change::PutNodeDisk(id, disk) => put(disk_key(*id), grpc::NodeDisk::from(*disk).encode_to_vec()),
        Change::PutNodeDuty(id, duty) => put(duty_key(*id), grpc::NodeDuty::from(*duty).encode_to_vec()),
        Change::DeleteNode(id) => {
            vec![
                Operation::Delete(registration_key(*id)),
                Operation::Delete(state_key(*id)),
                Operation::Delete(duty_key(*id)),
                Operation::Delete(disk_key(*id)),
            ]
        }
        Change::PutTopic {
            name,
            topic_id,
            partition_count,
            configs,
            owner,
        } => {
            let configs = configs
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let topic_id = convert::uuid_bytes(topic_id.0);
            let topic = grpc::Topic {
                topic_id,
                partition_count: *partition_count,
                configs,
                owner: owner.clone(),
            };
            put(topic_key(name), topic.encode_to_vec())
        }
        Change::DeleteTopic { name, .. } => vec![Operation::Delete(topic_key(name))],
        Change::PutPartition(topic, index, partition) => {
            // The epoch is the key's revision, which the value cannot know.
            let partition = grpc::Partition {
                epoch: 0,
                ..partition.into()
            };
            put(partition_key(*topic, *index), partition.encode_to_vec())
        }
        Change::DeletePartition(topic, index) => vec![Operation::Delete(partition_key(*topic, *index))],
        Change::PutShard(id, assignment) => {
            put(shard_key(*id), grpc::ShardAssignment::from(*assignment).encode_to_vec())
        }
        Change::DeleteShard(id) => vec![Operation::Delete(shard_key(*id))],
        Change::PutConfig(resource, values) => {
            let values = values
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            put(config_key(resource), grpc::ConfigValues { values }.encode_to_vec())
        }
        Change::DeleteConfig(resource) => vec![Operation::Delete(config_key(resource))],
        Change::PutRebalance(wanted) => put(REBALANCE.to_owned(), grpc::Rebalance::from(wanted).encode_to_vec()),
        Change::PutProducerIds(next) => put(
            PRODUCER_IDS.to_owned(),
            grpc::ProducerIds { next: next.get() }.encode_to_vec(),
        ),
    }
}

fn decode<M: Message + Default>(key: &str, value: &Bytes) -> Result<M, LayoutError> {
    M::decode(value.clone()).map_err(|source| LayoutError::Undecodable {
        key: key.to_owned(),
        source,
    })
}

/// What a key says, from its name alone.
enum Name {
    Cluster,
    Registration(NodeId),
    State(NodeId),
    Duty(NodeId),
    Disk(NodeId),
    Topic(String),
    Partition(TopicId, PartitionIndex),
    Shard(ShardId),
    Config(ConfigResource),
    ProducerIds,
    Rebalance,
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn name(key: &str) -> Option<Name> {
    match key {
        CLUSTER => return Some(Name::Cluster),
        PRODUCER_IDS => return Some(Name::ProducerIds),
        REBALANCE => return Some(Name::Rebalance),
        _ => {}
    }
    let (kind, rest) = key.split_once('/')?;
    if kind == "topics" {
        return Some(Name::Topic(rest.to_owned()));
    }
    let (first, second) = rest.split_once('/')?;
    let index = || number(second).filter(|index| *index >= 0).map(PartitionIndex);
    match (kind, first) {
        ("nodes", id) if second == "registration" => number(id).map(NodeId).map(Name::Registration),
        ("nodes", id) if second == "state" => number(id).map(NodeId).map(Name::State),
        ("nodes", id) if second == "disk" => number(id).map(NodeId).map(Name::Disk),
        ("nodes", id) if second == "duty" => number(id).map(NodeId).map(Name::Duty),
        ("partitions", topic) => Some(Name::Partition(TopicId(Uuid::from_str(topic).ok()?), index()?)),
        ("shards", "group") => Some(Name::Shard(ShardId {
            kind: ShardKind::Group,
            index: index()?,
        })),
        ("shards", "transaction") => Some(Name::Shard(ShardId {
            kind: ShardKind::Transaction,
            index: index()?,
        })),
        ("configs", "broker") if second == ALL_BROKERS => Some(Name::Config(ConfigResource::ClusterDefault)),
        ("configs", "broker") => Some(Name::Config(ConfigResource::Broker(NodeId(number(second)?)))),
        ("configs", "group") => Some(Name::Config(ConfigResource::Group(second.to_owned()))),
        _ => None,
    }
}

fn put(key: &str, value: &Bytes) -> Result<Change, LayoutError> {
    let invalid = |source| LayoutError::Invalid {
        key: key.to_owned(),
        source,
    };
    let name = name(key).ok_or_else(|| LayoutError::UnknownKey(key.to_owned()))?;
    Ok(match name {
        Name::Cluster => Change::PutCluster(decode::<grpc::ClusterInfo>(key, value)?.into()),
        Name::Registration(id) => {
            let registration = decode::<grpc::NodeRegistration>(key, value)?;
            Change::PutNodeRegistration(id, registration.try_into().map_err(invalid)?)
        }
        Name::State(id) => {
            Change::PutNodeState(id, decode::<grpc::NodeState>(key, value)?.try_into().map_err(invalid)?)
        }
        Name::Disk(id) => Change::PutNodeDisk(id, decode::<grpc::NodeDisk>(key, value)?.into()),
        Name::Duty(id) => Change::PutNodeDuty(id, decode::<grpc::NodeDuty>(key, value)?.try_into().map_err(invalid)?),
        Name::Topic(name) => {
            let topic = decode::<grpc::Topic>(key, value)?;
            if topic.partition_count < 0 {
                return Err(invalid(ConvertError::OutOfRange("partition_count")));
            }
            Change::PutTopic {
                name,
                topic_id: convert::topic_id(&topic.topic_id).map_err(invalid)?,
                partition_count: topic.partition_count,
                configs: topic.configs.into_iter().collect(),
                owner: topic.owner,
            }
        }
        Name::Partition(topic, index) => {
            Change::PutPartition(topic, index, decode::<grpc::Partition>(key, value)?.into())
        }
        Name::Shard(id) => Change::PutShard(id, decode::<grpc::ShardAssignment>(key, value)?.into()),
        Name::Config(resource) => {
            let values = decode::<grpc::ConfigValues>(key, value)?.values;
            Change::PutConfig(resource, values.into_iter().collect())
        }
        Name::Rebalance => Change::PutRebalance(decode::<grpc::Rebalance>(key, value)?.into()),
        Name::ProducerIds => Change::PutProducerIds(ProducerId(decode::<grpc::ProducerIds>(key, value)?.next)),
    })
}

/// The whole store as a snapshot of the metadata.
///
/// # Errors
/// If a key or value is not of this release.
pub fn snapshot(loaded: &Loaded) -> Result<MetadataSnapshot, LayoutError> {
    let ours = loaded
        .entries
        .iter()
        .filter(|entry| !entry.key.starts_with(ELECTION_PREFIX));
    let entries = ours.map(|Entry { key, value, modified }| {
        Ok(SnapshotEntry {
            modified: *modified,
            change: put(key, value)?,
        })
    });
    Ok(MetadataSnapshot {
        revision: loaded.revision,
        entries: entries.collect::<Result<_, LayoutError>>()?,
    })
}

/// A watched transaction as an update of the image it follows on.
///
/// # Errors
/// If a key or value is not of this release.
pub fn update(image: &MetadataImage, event: &WatchEvent) -> Result<MetadataUpdate, LayoutError> {
    let mut changes = Vec::with_capacity(event.operations.len());
    for operation in &event.operations {
        match operation {
            _ if operation.key().starts_with(ELECTION_PREFIX) => {}
            Operation::Put(key, value) => changes.push(put(key, value)?),
            Operation::Delete(key) => {
                let name = name(key).ok_or_else(|| LayoutError::UnknownKey(key.clone()))?;
                changes.extend(deletion(image, name));
            }
        }
    }
    Ok(MetadataUpdate {
        revision: event.revision,
        changes,
    })
}

fn deletion(image: &MetadataImage, name: Name) -> Option<Change> {
    match name {
        Name::Registration(id) => Some(Change::DeleteNode(id)),
        Name::Topic(name) => {
            let topic_id = image.topic(&name)?.id;
            Some(Change::DeleteTopic { name, topic_id })
        }
        Name::Partition(topic, index) => Some(Change::DeletePartition(topic, index)),
        Name::Shard(id) => Some(Change::DeleteShard(id)),
        Name::Config(resource) => Some(Change::DeleteConfig(resource)),
        // A node's state, duty and disk go with its registration; the others are never deleted.
        Name::State(_) | Name::Duty(_) | Name::Disk(_) | Name::Cluster | Name::ProducerIds | Name::Rebalance => None,
    }
}

/// Revision zero: the guard of a key that must not be there.
pub const ABSENT: Revision = Revision(0);
