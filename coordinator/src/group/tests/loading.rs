use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::records::group_metadata_value::GroupMetadataValue;
use highwater_proto::kafka::records::offset_commit_value::OffsetCommitValue;
use highwater_proto::kafka::{RecordValue as _, peek_int16};
use highwater_proto::types::Offset;

use super::harness::*;
use crate::group::*;

#[test]
fn rule_141_a_new_group_is_written_once_and_a_new_generation_only_when_synced() {
    let mut h = Harness::new();
    let token = h.join(member("g"));
    let value = |record: &Record| GroupMetadataValue::decode_value(record.value.clone().unwrap()).unwrap();
    assert_eq!(h.log.len(), 1);
    let created = value(&h.log[0]);
    assert_eq!(
        (created.generation, created.members.len(), &*created.protocol_type),
        (0, 0, "")
    );
    h.advance(Duration::from_secs(3));
    let reply = h.joined(token);
    assert_eq!(h.log.len(), 1, "a generation that nobody has synced is not written");
    h.sync_now(sync(
        "g",
        &reply.member_id,
        1,
        vec![(reply.member_id.clone(), assignment("x"))],
    ));
    let synced = value(&h.log[1]);
    assert_eq!(
        (synced.generation, &*synced.protocol_type, synced.members.len()),
        (1, "consumer", 1)
    );
    assert_eq!(synced.members[0].assignment, assignment("x"));
    assert!(synced.current_state_timestamp > START);
}

#[test]
fn rule_141_a_new_owner_knows_stable_members_and_starts_their_sessions_afresh() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[static_member("g", "i"), member("g")]);
    h.advance(SESSION - Duration::from_secs(1));
    let before = h.describe("g");
    h.reload();
    assert_eq!(h.describe("g"), before);
    h.advance(SESSION - Duration::from_secs(1));
    for id in &ids {
        assert_eq!(h.heartbeat("g", id, 1), ErrorCode::None);
    }
    assert_eq!(
        h.sync_now(sync("g", &ids[1], 1, Vec::new())).assignment,
        assignment(&ids[1])
    );
    let follower = h.join_now(rejoin(&member("g"), &ids[1]));
    assert_eq!((follower.error, follower.generation), (ErrorCode::None, 1));
    h.advance(SESSION);
    assert_eq!(h.state("g"), "Empty");
}

#[test]
fn rule_141_members_of_an_unsynced_generation_have_to_rejoin() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    let reply = h.join_now(rejoin(&member("g"), &ids[0]));
    assert_eq!(reply.generation, 2);
    h.reload();
    assert_eq!(h.heartbeat("g", &ids[0], 2), ErrorCode::IllegalGeneration);
    assert_eq!(
        h.heartbeat("g", "a new member of generation 2", 2),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn rule_94_records_are_of_the_versions_that_apache_kafka_writes() {
    let mut h = Harness::new();
    h.commit(commit("g", "t", 5));
    let with_retention = OffsetCommit {
        retention: Some(Duration::from_secs(1)),
        ..commit("g", "t", 6)
    };
    h.commit(with_retention);
    h.stable("g", &[member("g")]);
    let version = |record: &Record| peek_int16(record.value.as_ref().unwrap()).unwrap();
    let versions: Vec<_> = h.log.iter().map(version).collect();
    assert_eq!(versions, [4, 1, 3]);
    let expiring = OffsetCommitValue::decode_value(h.log[1].value.clone().unwrap()).unwrap();
    assert_eq!(expiring.expire_timestamp, START + 1000);
    assert_eq!(peek_int16(&h.log[0].key).unwrap(), 1);
    assert_eq!(peek_int16(&h.log[2].key).unwrap(), 2);
}

#[test]
fn rule_94_older_values_are_read() {
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 4,
        ..Default::default()
    };
    for version in 0..=4 {
        let mut h = Harness::new();
        h.stable("g", &[member("g")]);
        let key = h.log[0].key.clone();
        let value = value.encode_value(version).unwrap();
        h.groups.replay(Offset(9), None, &key, Some(&value)).unwrap();
        assert_eq!(h.state("g"), "Empty", "version {version}");
    }
}

#[test]
fn rule_88_unknown_types_are_skipped_and_other_unreadable_records_fail_the_load() {
    let mut groups = Harness::new().groups;
    for kind in [3_i16, 5, 9, 23, 99] {
        let key = [&kind.to_be_bytes()[..], b"whatever"].concat();
        groups.replay(Offset(0), None, &key, Some(b"not a value")).unwrap();
        groups.replay(Offset(0), None, &key, None).unwrap();
    }
    let mut h = Harness::new();
    h.commit(commit("g", "t", 5));
    let error = groups
        .replay(Offset(42), None, &h.log[0].key, Some(b"\x00\x63?"))
        .unwrap_err();
    assert_eq!(error.to_string(), "the record at offset 42 cannot be decoded");
    groups.replay(Offset(0), None, &h.log[0].key[..5], None).unwrap_err();
    groups.replay(Offset(0), None, b"", None).unwrap_err();
}
