//! To and from the gRPC form of metadata. What comes from a socket or a disk is checked here: beyond this file
//! every id, index and enum is valid.

mod change;
mod stream;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use uuid::Uuid;

use crate::grpc;
use crate::metadata::{
    ClusterInfo, ConfigResource, DiskPressure, Endpoint, NodeDisk, NodeDuty, NodeRegistration, NodeRole, NodeState,
    Partition, Rebalance, ShardAssignment,
};
use crate::types::{
    CoordinatorEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, ShardId, ShardKind, TopicId,
};

pub use change::{change_from_grpc, change_to_grpc};
pub use stream::{
    Received, SNAPSHOT_CHUNK_CHANGES, SNAPSHOT_MAX_CHANGES, UpdateAssembler, snapshot_to_grpc, update_to_grpc,
};

/// A message that no process of ours would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field without which the message means nothing is absent.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A field is outside of its range.
    #[error("field {0} is out of range")]
    OutOfRange(&'static str),
    /// An id that is not 16 bytes.
    #[error("field {0} is not an id of 16 bytes")]
    NotAnId(&'static str),
    /// A snapshot that never ends.
    #[error("a snapshot of more than {SNAPSHOT_MAX_CHANGES} changes")]
    SnapshotTooLarge,
    /// A delta between the parts of a snapshot, or parts of two snapshots.
    #[error("a snapshot was interrupted by another message")]
    SnapshotInterrupted,
}

/// An id of 16 bytes from the wire.
///
/// # Errors
/// If it has another length; `field` names it.
pub fn uuid(bytes: &[u8], field: &'static str) -> Result<Uuid, ConvertError> {
    Uuid::from_slice(bytes).map_err(|_| ConvertError::NotAnId(field))
}

/// A topic id from the wire.
///
/// # Errors
/// If it is not 16 bytes.
pub fn topic_id(bytes: &[u8]) -> Result<TopicId, ConvertError> {
    uuid(bytes, "topic_id").map(TopicId)
}

/// An id as the wire carries it.
#[must_use]
pub fn uuid_bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// A partition index from the wire.
///
/// # Errors
/// If it is negative.
pub fn partition_index(index: i32) -> Result<PartitionIndex, ConvertError> {
    if index < 0 {
        Err(ConvertError::OutOfRange("partition"))
    } else {
        Ok(PartitionIndex(index))
    }
}

fn present<T>(value: Option<T>, field: &'static str) -> Result<T, ConvertError> {
    value.ok_or(ConvertError::Missing(field))
}

fn hash_map(values: &BTreeMap<String, String>) -> HashMap<String, String> {
    values
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl From<&ClusterInfo> for grpc::ClusterInfo {
    fn from(info: &ClusterInfo) -> Self {
        Self {
            cluster_id: info.cluster_id.clone(),
            generation: info.generation,
            format_version: info.format_version,
        }
    }
}

impl From<grpc::ClusterInfo> for ClusterInfo {
    fn from(info: grpc::ClusterInfo) -> Self {
        Self {
            cluster_id: info.cluster_id,
            generation: info.generation,
            format_version: info.format_version,
        }
    }
}

impl From<&NodeRegistration> for grpc::NodeRegistration {
    fn from(registration: &NodeRegistration) -> Self {
        let role = match registration.role {
            NodeRole::Broker => grpc::NodeRole::Broker,
            NodeRole::Coordinator => grpc::NodeRole::Coordinator,
        };
        let endpoint = |endpoint: &Endpoint| grpc::Endpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: u32::from(endpoint.port),
        };
        let range = |&(api_key, min, max): &(i16, i16, i16)| grpc::ApiRange {
            api_key: i32::from(api_key),
            min_version: i32::from(min),
            max_version: i32::from(max),
        };
        Self {
            role: role.into(),
            incarnation: uuid_bytes(registration.incarnation),
            directory_id: uuid_bytes(registration.directory_id),
            endpoints: registration.endpoints.iter().map(endpoint).collect(),
            rack: registration.rack.clone(),
            api_ranges: registration.api_ranges.iter().map(range).collect(),
            pod_uid: registration.pod_uid.clone(),
        }
    }
}

impl TryFrom<grpc::NodeRegistration> for NodeRegistration {
    type Error = ConvertError;

    fn try_from(registration: grpc::NodeRegistration) -> Result<Self, ConvertError> {
        let role = match registration.role() {
            grpc::NodeRole::Broker => NodeRole::Broker,
            grpc::NodeRole::Coordinator => NodeRole::Coordinator,
            grpc::NodeRole::Unspecified => return Err(ConvertError::OutOfRange("role")),
        };
        let endpoint = |endpoint: grpc::Endpoint| {
            let port = u16::try_from(endpoint.port).map_err(|_| ConvertError::OutOfRange("port"))?;
            Ok(Endpoint {
                name: endpoint.name,
                host: endpoint.host,
                port,
            })
        };
        let short = |value: i32| i16::try_from(value).map_err(|_| ConvertError::OutOfRange("api_ranges"));
        let range = |range: grpc::ApiRange| {
            Ok((
                short(range.api_key)?,
                short(range.min_version)?,
                short(range.max_version)?,
            ))
        };
        Ok(Self {
            role,
            incarnation: uuid(&registration.incarnation, "incarnation")?,
            directory_id: uuid(&registration.directory_id, "directory_id")?,
            endpoints: registration
                .endpoints
                .into_iter()
                .map(endpoint)
                .collect::<Result<_, ConvertError>>()?,
            rack: registration.rack,
            api_ranges: registration
                .api_ranges
                .into_iter()
                .map(range)
                .collect::<Result<_, ConvertError>>()?,
            pod_uid: registration.pod_uid,
        })
    }
}

impl From<NodeState> for grpc::NodeState {
    fn from(state: NodeState) -> Self {
        let kind = match state {
            NodeState::Active => grpc::NodeStateKind::NodeStateActive,
            NodeState::Cordoned => grpc::NodeStateKind::NodeStateCordoned,
            NodeState::Draining => grpc::NodeStateKind::NodeStateDraining,
            NodeState::Fencing => grpc::NodeStateKind::NodeStateFencing,
            NodeState::Fenced => grpc::NodeStateKind::NodeStateFenced,
        };
        Self { kind: kind.into() }
    }
}

impl TryFrom<grpc::NodeState> for NodeState {
    type Error = ConvertError;

    fn try_from(state: grpc::NodeState) -> Result<Self, ConvertError> {
        match state.kind() {
            grpc::NodeStateKind::NodeStateActive => Ok(Self::Active),
            grpc::NodeStateKind::NodeStateCordoned => Ok(Self::Cordoned),
            grpc::NodeStateKind::NodeStateDraining => Ok(Self::Draining),
            grpc::NodeStateKind::NodeStateFencing => Ok(Self::Fencing),
            grpc::NodeStateKind::NodeStateFenced => Ok(Self::Fenced),
            grpc::NodeStateKind::NodeStateUnspecified => Err(ConvertError::OutOfRange("node state")),
        }
    }
}

impl From<DiskPressure> for grpc::DiskPressureKind {
    fn from(disk: DiskPressure) -> Self {
        match disk {
            DiskPressure::None => Self::DiskPressureNone,
            DiskPressure::Low => Self::DiskPressureLow,
            DiskPressure::Full => Self::DiskPressureFull,
        }
    }
}

impl From<grpc::DiskPressureKind> for DiskPressure {
    /// Who says nothing has room.
    fn from(kind: grpc::DiskPressureKind) -> Self {
        match kind {
            grpc::DiskPressureKind::DiskPressureUnspecified | grpc::DiskPressureKind::DiskPressureNone => Self::None,
            grpc::DiskPressureKind::DiskPressureLow => Self::Low,
            grpc::DiskPressureKind::DiskPressureFull => Self::Full,
        }
    }
}

/// What is more than all is all.
#[must_use]
pub fn tenths(said: u32) -> u8 {
    said.min(10) as u8
}

impl From<NodeDisk> for grpc::NodeDisk {
    fn from(disk: NodeDisk) -> Self {
        Self {
            kind: grpc::DiskPressureKind::from(disk.pressure).into(),
            stalled: disk.stalled,
            tenths: disk.tenths.into(),
        }
    }
}

impl From<grpc::NodeDisk> for NodeDisk {
    fn from(disk: grpc::NodeDisk) -> Self {
        Self {
            pressure: disk.kind().into(),
            tenths: tenths(disk.tenths),
            stalled: disk.stalled,
        }
    }
}

impl From<NodeDuty> for grpc::NodeDuty {
    fn from(duty: NodeDuty) -> Self {
        let kind = match duty {
            NodeDuty::Full => grpc::NodeDutyKind::NodeDutyFull,
            NodeDuty::Cordoned => grpc::NodeDutyKind::NodeDutyCordoned,
            NodeDuty::Draining => grpc::NodeDutyKind::NodeDutyDraining,
        };
        Self { kind: kind.into() }
    }
}

impl TryFrom<grpc::NodeDuty> for NodeDuty {
    type Error = ConvertError;

    fn try_from(duty: grpc::NodeDuty) -> Result<Self, ConvertError> {
        match duty.kind() {
            grpc::NodeDutyKind::NodeDutyFull => Ok(Self::Full),
            grpc::NodeDutyKind::NodeDutyCordoned => Ok(Self::Cordoned),
            grpc::NodeDutyKind::NodeDutyDraining => Ok(Self::Draining),
            grpc::NodeDutyKind::NodeDutyUnspecified => Err(ConvertError::OutOfRange("node duty")),
        }
    }
}

impl From<&Rebalance> for grpc::Rebalance {
    fn from(rebalance: &Rebalance) -> Self {
        let limit = |limit: Option<u64>| limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        Self {
            wanted: rebalance.wanted,
            onto: rebalance.onto.iter().map(|node| node.get()).collect(),
            throttle: limit(rebalance.throttle),
            drain_throttle: limit(rebalance.drain_throttle),
        }
    }
}

impl From<grpc::Rebalance> for Rebalance {
    fn from(rebalance: grpc::Rebalance) -> Self {
        Self {
            wanted: rebalance.wanted,
            onto: rebalance.onto.into_iter().map(NodeId).collect(),
            throttle: byte_rate(rebalance.throttle),
            drain_throttle: byte_rate(rebalance.drain_throttle),
        }
    }
}

/// Bytes per second from the wire; 0, or less, is no limit.
#[must_use]
pub fn byte_rate(rate: i64) -> Option<u64> {
    u64::try_from(rate).ok().filter(|rate| *rate > 0)
}

impl From<&Partition> for grpc::Partition {
    fn from(partition: &Partition) -> Self {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
        Self {
            replicas: ids(&partition.replicas),
            adding: ids(&partition.adding),
            removing: ids(&partition.removing),
            isr: ids(&partition.isr),
            elr: ids(&partition.elr),
            last_known_leader: partition.last_known_leader.map(NodeId::get),
            offline_replicas: ids(&partition.offline_replicas),
            leader: partition.leader.map(NodeId::get),
            leader_epoch: partition.leader_epoch.get(),
            epoch: partition.epoch.get(),
        }
    }
}

impl From<grpc::Partition> for Partition {
    fn from(partition: grpc::Partition) -> Self {
        let nodes = |ids: Vec<i32>| ids.into_iter().map(NodeId).collect();
        Self {
            replicas: nodes(partition.replicas),
            adding: nodes(partition.adding),
            removing: nodes(partition.removing),
            isr: nodes(partition.isr),
            elr: nodes(partition.elr),
            last_known_leader: partition.last_known_leader.map(NodeId),
            offline_replicas: nodes(partition.offline_replicas),
            leader: partition.leader.map(NodeId),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            epoch: PartitionEpoch(partition.epoch),
        }
    }
}

impl From<ShardAssignment> for grpc::ShardAssignment {
    fn from(assignment: ShardAssignment) -> Self {
        Self {
            owner: assignment.owner.map(NodeId::get),
            epoch: assignment.epoch.get(),
        }
    }
}

impl From<grpc::ShardAssignment> for ShardAssignment {
    fn from(assignment: grpc::ShardAssignment) -> Self {
        Self {
            owner: assignment.owner.map(NodeId),
            epoch: CoordinatorEpoch(assignment.epoch),
        }
    }
}

impl From<ShardId> for grpc::ShardId {
    fn from(id: ShardId) -> Self {
        let kind = match id.kind {
            ShardKind::Group => grpc::ShardKind::Group,
            ShardKind::Transaction => grpc::ShardKind::Transaction,
        };
        Self {
            kind: kind.into(),
            index: id.index.get(),
        }
    }
}

impl TryFrom<grpc::ShardId> for ShardId {
    type Error = ConvertError;

    fn try_from(id: grpc::ShardId) -> Result<Self, ConvertError> {
        let kind = match id.kind() {
            grpc::ShardKind::Group => ShardKind::Group,
            grpc::ShardKind::Transaction => ShardKind::Transaction,
            grpc::ShardKind::Unspecified => return Err(ConvertError::OutOfRange("shard kind")),
        };
        Ok(Self {
            kind,
            index: partition_index(id.index)?,
        })
    }
}

impl From<&ConfigResource> for grpc::ConfigResource {
    fn from(resource: &ConfigResource) -> Self {
        let resource = match resource {
            ConfigResource::ClusterDefault => grpc::config_resource::Resource::ClusterDefault(true),
            ConfigResource::Broker(id) => grpc::config_resource::Resource::Broker(id.get()),
            ConfigResource::Group(name) => grpc::config_resource::Resource::Group(name.clone()),
        };
        Self {
            resource: Some(resource),
        }
    }
}

impl TryFrom<grpc::ConfigResource> for ConfigResource {
    type Error = ConvertError;

    fn try_from(resource: grpc::ConfigResource) -> Result<Self, ConvertError> {
        Ok(match present(resource.resource, "config resource")? {
            grpc::config_resource::Resource::ClusterDefault(_) => Self::ClusterDefault,
            grpc::config_resource::Resource::Broker(id) => Self::Broker(NodeId(id)),
            grpc::config_resource::Resource::Group(name) => Self::Group(name),
        })
    }
}
