//! The state as a replay of its records (rules 88, 93, 94, 141, 143).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::records::group_metadata_key::GroupMetadataKey;
use highwater_proto::kafka::records::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use highwater_proto::kafka::records::offset_commit_key::OffsetCommitKey;
use highwater_proto::kafka::records::offset_commit_value::OffsetCommitValue;
use highwater_proto::kafka::{DecodeError, Message as _, RecordKey as _, RecordValue as _, peek_int16};
use highwater_proto::types::{Offset, ProducerId, TimestampMs, TopicId};

use super::groups::Groups;
use super::member::Member;
use super::membership::ClassicGroup;
use super::offsets::CommittedOffset;
use super::record::UndecodableRecord;
use super::request::MemberProtocol;
use super::state::GroupState;

/// Type of the keys of offsets in the oldest format; the fields are the same.
const LEGACY_OFFSET_COMMIT: i16 = 0;

impl Groups {
    /// Applies one record of the log. `producer` is set in a transactional batch: what it commits counts from its
    /// marker on. Types that are not known, or belong to protocols that are not spoken yet, are skipped.
    ///
    /// # Errors
    /// When a record of a known type cannot be read.
    pub fn replay(
        &mut self,
        offset: Offset,
        producer: Option<ProducerId>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), UndecodableRecord> {
        let replayed = self.replay_record(offset, producer, key, value);
        replayed.map_err(|source| UndecodableRecord {
            offset: offset.get(),
            source,
        })
    }

    fn replay_record(
        &mut self,
        offset: Offset,
        producer: Option<ProducerId>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), DecodeError> {
        let kind = peek_int16(key)?;
        match kind {
            LEGACY_OFFSET_COMMIT | OffsetCommitKey::TYPE => {
                let mut fields = Bytes::copy_from_slice(&key[2..]);
                let key = OffsetCommitKey::decode(&mut fields, *OffsetCommitKey::VERSIONS.end())?;
                let value = value.map(|value| OffsetCommitValue::decode_value(Bytes::copy_from_slice(value)));
                self.replay_offset(offset, producer, &key, value.transpose()?);
            }
            GroupMetadataKey::TYPE => {
                let key = GroupMetadataKey::decode_key(Bytes::copy_from_slice(key))?;
                let value = value.map(|value| GroupMetadataValue::decode_value(Bytes::copy_from_slice(value)));
                self.replay_group(&key.group, value.transpose()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Applies the marker that ends a producer's transaction.
    pub fn replay_end_transaction(&mut self, producer: ProducerId, commit: bool) {
        for group in self.offsets.end_transaction(producer, commit) {
            self.ensure_group(&group);
        }
    }

    fn replay_offset(
        &mut self,
        offset: Offset,
        producer: Option<ProducerId>,
        key: &OffsetCommitKey,
        value: Option<OffsetCommitValue>,
    ) {
        let group: Arc<str> = Arc::from(&*key.group);
        let topic: Arc<str> = Arc::from(&*key.topic);
        let Some(value) = value else {
            self.offsets.remove(&group, &topic, key.partition);
            return;
        };
        let committed = CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: Box::from(&*value.metadata),
            commit_timestamp: TimestampMs(value.commit_timestamp),
            expire_timestamp: (value.expire_timestamp >= 0).then_some(TimestampMs(value.expire_timestamp)),
            topic_id: TopicId(value.topic_id),
            record_offset: offset,
        };
        self.ensure_group(&group);
        match producer {
            Some(producer) => self
                .offsets
                .put_pending(producer, &group, &topic, key.partition, committed),
            None => self.offsets.put(&group, &topic, key.partition, committed),
        }
    }

    fn replay_group(&mut self, id: &str, value: Option<GroupMetadataValue>) {
        let id: Arc<str> = Arc::from(id);
        match value {
            Some(value) => self.put_group(group_of(id, value)),
            // Should offsets have survived their group, they are those of a simple group.
            None => self.put_group(ClassicGroup::new(id)),
        }
    }

    /// Groups that only tombstones are left of do not exist.
    pub(super) fn drop_deleted(&mut self) {
        for id in self.group_ids() {
            let deleted = self.group(&id).is_some_and(|group| {
                let never_written = group.protocol_type.is_none() && group.state_since.is_none();
                never_written && group.member_count() == 0 && self.offsets.is_empty(&id)
            });
            if deleted {
                self.remove_group(&id);
            }
        }
    }
}

fn group_of(id: Arc<str>, value: GroupMetadataValue) -> ClassicGroup {
    let mut group = ClassicGroup::new(id);
    let some_text = |text: &str| (!text.is_empty()).then(|| Arc::<str>::from(text));
    let protocol_type: Arc<str> = Arc::from(&*value.protocol_type);
    group.leader = value.leader.as_deref().and_then(some_text);
    group.protocol_name = value.protocol.as_deref().and_then(some_text);
    let protocol = group.protocol_name.clone().unwrap_or_default();
    for member in value.members {
        group.add(member_of(member, &protocol), &protocol_type);
    }
    group.protocol_type = some_text(&protocol_type);
    group.generation = value.generation;
    let since = value.current_state_timestamp;
    group.state_since = (since >= 0).then_some(TimestampMs(since));
    group.state = if group.member_count() == 0 {
        GroupState::Empty
    } else {
        GroupState::Stable
    };
    group
}

fn member_of(member: MemberMetadata, protocol: &Arc<str>) -> Member {
    let millis = |millis: i32| Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    let rebalance_timeout = if member.rebalance_timeout < 0 {
        member.session_timeout
    } else {
        member.rebalance_timeout
    };
    Member {
        id: Arc::from(&*member.member_id),
        instance_id: member.group_instance_id.as_deref().map(Arc::from),
        client_id: Arc::from(&*member.client_id),
        client_host: Arc::from(&*member.client_host),
        rebalance_timeout: millis(rebalance_timeout),
        session_timeout: millis(member.session_timeout),
        protocols: vec![MemberProtocol {
            name: Arc::clone(protocol),
            // The value was copied out of the batch: nothing larger is kept alive by these.
            metadata: member.subscription,
        }],
        assignment: member.assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}
