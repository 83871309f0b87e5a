//! Records of `__consumer_offsets`, in Kafka's formats (rules 93, 94).

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::kafka::records::group_metadata_key::GroupMetadataKey;
use highwater_proto::kafka::records::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use highwater_proto::kafka::records::offset_commit_key::OffsetCommitKey;
use highwater_proto::kafka::records::offset_commit_value::OffsetCommitValue;
use highwater_proto::kafka::{ByteStr, DecodeError, EncodeError, RecordKey as _, RecordValue as _};
use thiserror::Error;

use super::member::Member;
use super::membership::ClassicGroup;
use super::offsets::CommittedOffset;

/// Versions that Apache Kafka writes.
const GROUP_METADATA_VERSION: i16 = 3;
const OFFSET_COMMIT_VERSION: i16 = 4;
/// The last version with an expire timestamp: for commits that carry a retention.
const OFFSET_COMMIT_WITH_EXPIRY_VERSION: i16 = 1;

/// Lengths and deltas of a record in a batch, at their longest.
const RECORD_OVERHEAD: usize = 36;

/// A record to append: key, and value or tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The encoded key.
    pub key: Bytes,
    /// The encoded value; `None` for a tombstone.
    pub value: Option<Bytes>,
    encodable: bool,
}

/// A record of a known type that cannot be read: the shard must not be served from half a state.
#[derive(Debug, Error)]
#[error("the record at offset {offset} cannot be decoded")]
pub struct UndecodableRecord {
    /// Its offset in `__consumer_offsets`.
    pub offset: i64,
    /// What is wrong with it.
    #[source]
    pub source: DecodeError,
}

impl Record {
    /// Bytes that the record takes in a batch at most; more than any batch holds if a field is too long for the format.
    #[must_use]
    pub fn size(&self) -> usize {
        let value = self.value.as_ref().map_or(0, Bytes::len);
        if self.encodable {
            RECORD_OVERHEAD + self.key.len() + value
        } else {
            usize::MAX
        }
    }

    pub(super) fn group_metadata(group: &ClassicGroup) -> Self {
        let protocol = group.protocol_name.as_deref();
        let value = GroupMetadataValue {
            protocol_type: text(group.protocol_type.as_ref()),
            generation: group.generation,
            protocol: protocol.map(ByteStr::from),
            leader: group.leader.as_deref().map(ByteStr::from),
            current_state_timestamp: group.state_since.map_or(-1, |since| since.get()),
            members: group
                .members()
                .map(|member| member_metadata(member, protocol.unwrap_or_default()))
                .collect(),
            ..Default::default()
        };
        Self::of(group_key(&group.id), Some(value.encode_value(GROUP_METADATA_VERSION)))
    }

    pub(super) fn group_tombstone(group: &Arc<str>) -> Self {
        Self::of(group_key(group), None)
    }

    pub(super) fn offset_commit(group: &str, topic: &str, partition: i32, committed: &CommittedOffset) -> Self {
        let version = if committed.expire_timestamp.is_some() {
            OFFSET_COMMIT_WITH_EXPIRY_VERSION
        } else {
            OFFSET_COMMIT_VERSION
        };
        let value = OffsetCommitValue {
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: ByteStr::from(&*committed.metadata),
            commit_timestamp: committed.commit_timestamp.get(),
            expire_timestamp: committed.expire_timestamp.map_or(-1, |expires| expires.get()),
            topic_id: committed.topic_id.0,
            ..Default::default()
        };
        Self::of(offset_key(group, topic, partition), Some(value.encode_value(version)))
    }

    pub(super) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Self {
        Self::of(offset_key(group, topic, partition), None)
    }

    fn of(key: Result<Bytes, EncodeError>, value: Option<Result<Bytes, EncodeError>>) -> Self {
        match (key, value.transpose()) {
            (Ok(key), Ok(value)) => Self {
                key,
                value,
                encodable: true,
            },
            _ => Self {
                key: Bytes::new(),
                value: None,
                encodable: false,
            },
        }
    }
}

fn group_key(group: &str) -> Result<Bytes, EncodeError> {
    let key = GroupMetadataKey {
        group: group.into(),
        ..Default::default()
    };
    key.encode_key()
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Result<Bytes, EncodeError> {
    let key = OffsetCommitKey {
        group: group.into(),
        topic: topic.into(),
        partition,
        ..Default::default()
    };
    key.encode_key()
}

fn member_metadata(member: &Member, protocol: &str) -> MemberMetadata {
    MemberMetadata {
        member_id: ByteStr::from(&*member.id),
        group_instance_id: member.instance_id.as_deref().map(ByteStr::from),
        client_id: ByteStr::from(&*member.client_id),
        client_host: ByteStr::from(&*member.client_host),
        rebalance_timeout: millis(member.rebalance_timeout),
        session_timeout: millis(member.session_timeout),
        subscription: member.metadata(protocol),
        assignment: member.assignment.clone(),
        ..Default::default()
    }
}

fn text(text: Option<&Arc<str>>) -> ByteStr {
    text.map(|text| ByteStr::from(&**text)).unwrap_or_default()
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
