use std::collections::BTreeMap;

use highwater_proto::kafka::Request as KafkaRequest;
use highwater_proto::kafka::messages::delete_groups::DeleteGroupsRequest;
use highwater_proto::kafka::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::join_group::request::JoinGroupRequestProtocol;
use highwater_proto::kafka::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use highwater_proto::kafka::messages::leave_group::request::MemberIdentity;
use highwater_proto::kafka::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use highwater_proto::kafka::messages::list_groups::ListGroupsRequest;
use highwater_proto::kafka::messages::offset_commit::OffsetCommitRequest;
use highwater_proto::kafka::messages::offset_commit::request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater_proto::kafka::messages::offset_delete::OffsetDeleteRequest;
use highwater_proto::kafka::messages::offset_fetch::request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use highwater_proto::kafka::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::metadata::{Change, MetadataUpdate, Partition};
use highwater_proto::types::{PartitionIndex, Revision, TimestampMs, TopicId};

use super::*;
use crate::group::{Effects, GroupConfig, Groups, Now, Token};

const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

fn image() -> MetadataImage {
    let changes = vec![
        Change::PutPartition(TOPIC, PartitionIndex(0), Partition::default()),
        Change::PutTopic {
            name: "t".to_owned(),
            topic_id: TOPIC,
            partition_count: 1,
            configs: BTreeMap::new(),
            owner: None,
        },
    ];
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(1),
        changes,
    })
}

/// Groups behind the wire.
struct Wire {
    groups: Groups,
    now: Now,
    image: MetadataImage,
}

impl Wire {
    fn new() -> Self {
        let config = GroupConfig {
            initial_rebalance_delay: Duration::ZERO,
            ..GroupConfig::default()
        };
        let now = Now {
            wall: TimestampMs(1_000_000),
            monotonic: Duration::ZERO,
        };
        let mut groups = Groups::new(Arc::new(config));
        groups.loaded(highwater_proto::types::Offset(0), now, &mut Effects::default());
        Self {
            groups,
            now,
            image: image(),
        }
    }

    fn decode<R: KafkaRequest>(&self, request: &R, version: i16) -> Result<Request, ErrorCode> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let context = Context {
            version,
            client_id: "client",
            client_host: "/10.0.0.1",
            image: &self.image,
            member_uuid: Uuid::from_u128(1),
        };
        decode(R::API_KEY.code().into(), body.freeze(), &context)
    }

    fn send<R: KafkaRequest>(&mut self, request: &R, version: i16) -> R::Response {
        let decoded = self.decode(request, version).unwrap();
        let mut effects = Effects::default();
        self.groups
            .handle(Token(1), decoded, &self.image, self.now, &mut effects);
        self.groups.tick(self.now, &mut effects);
        let (_, reply) = effects.replies.remove(0);
        let mut body = encode(R::API_KEY.code().into(), version, reply).unwrap().body;
        let response = R::Response::decode(&mut body, version).unwrap();
        assert!(body.is_empty(), "the body is longer than the response");
        response
    }
}

fn join(version: i16) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: if version == 0 { -1 } else { 60_000 },
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A generation of one member: its id.
fn joined(wire: &mut Wire, version: i16) -> JoinGroupResponse {
    let mut request = join(version);
    let response = wire.send(&request, version);
    if version < 4 {
        return response;
    }
    assert_eq!(response.error_code, ErrorCode::MemberIdRequired.code());
    request.member_id = response.member_id;
    wire.send(&request, version)
}

#[test]
fn every_version_of_the_table_is_spoken() {
    for api in &APIS {
        let schema = api.key.versions();
        assert!(
            schema.contains(api.versions.start()) && schema.contains(api.versions.end()),
            "{:?}",
            api.key
        );
    }
    for version in 0..=9 {
        let mut wire = Wire::new();
        let response = joined(&mut wire, version);
        assert_eq!(
            (response.error_code, response.generation_id),
            (0, 1),
            "JoinGroup {version}"
        );
        assert_eq!(&*response.member_id, "client-00000000-0000-0000-0000-000000000001");
        assert_eq!(response.members.len(), 1);
        let member_id = response.member_id;
        let sync = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: member_id.clone(),
            ..Default::default()
        };
        assert_eq!(wire.send(&sync, version.min(5)).error_code, 0);
        let heartbeat = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: member_id.clone(),
            ..Default::default()
        };
        assert_eq!(wire.send(&heartbeat, version.min(4)).error_code, 0);
        assert_eq!(wire.send(&ListGroupsRequest::default(), version.min(5)).groups.len(), 1);
        let describe = DescribeGroupsRequest {
            groups: vec!["g".into()],
            ..Default::default()
        };
        let described = wire.send(&describe, version.min(6)).groups.remove(0);
        assert_eq!(
            (&*described.group_state, &*described.members[0].client_host),
            ("Stable", "/10.0.0.1")
        );
        let delete = DeleteGroupsRequest {
            groups_names: vec!["g".into()],
            ..Default::default()
        };
        let deleted = wire.send(&delete, version.min(2)).results.remove(0);
        assert_eq!(deleted.error_code, ErrorCode::NonEmptyGroup.code());
        let delete = OffsetDeleteRequest {
            group_id: "none".into(),
            ..Default::default()
        };
        assert_eq!(wire.send(&delete, 0).error_code, ErrorCode::GroupIdNotFound.code());
        let leave = leave(&member_id, version.min(5));
        assert_eq!(wire.send(&leave, version.min(5)).error_code, 0);
    }
}

fn leave(member_id: &str, version: i16) -> LeaveGroupRequest {
    let mut request = LeaveGroupRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    if version < 3 {
        request.member_id = member_id.into();
    } else {
        request.members = vec![MemberIdentity {
            member_id: member_id.into(),
            ..Default::default()
        }];
    }
    request
}

#[test]
fn rule_82_old_versions_have_the_members_error_at_the_top() {
    let mut wire = Wire::new();
    for version in 0..=5 {
        let response: LeaveGroupResponse = wire.send(&leave("nobody", version), version);
        let unknown = ErrorCode::UnknownMemberId.code();
        if version < 3 {
            assert_eq!((response.error_code, response.members.len()), (unknown, 0));
        } else {
            assert_eq!((response.error_code, response.members[0].error_code), (0, unknown));
        }
    }
}

#[test]
fn rule_152_a_missing_protocol_name_is_empty_before_version_7_and_null_from_then_on() {
    for version in 0..=9 {
        let mut request = join(version);
        request.session_timeout_ms = 1;
        request.member_id = "m".into();
        let response = Wire::new().send(&request, version);
        assert_eq!(response.error_code, ErrorCode::InvalidSessionTimeout.code());
        assert_eq!((response.generation_id, &*response.member_id), (-1, "m"));
        let expected = if version < 7 { Some("") } else { None };
        assert_eq!(response.protocol_name.as_deref(), expected, "version {version}");
    }
}

#[test]
fn rule_151_version_0_rebalances_within_the_session_timeout() {
    let Ok(Request::JoinGroup(request)) = Wire::new().decode(&join(0), 0) else {
        panic!()
    };
    assert_eq!(request.rebalance_timeout, Duration::from_secs(10));
}

fn commit(version: i16, generation: i32) -> OffsetCommitRequest {
    let partition = |index, offset| OffsetCommitRequestPartition {
        partition_index: index,
        committed_offset: offset,
        committed_metadata: None,
        ..Default::default()
    };
    let topic = |name: &str, partitions| OffsetCommitRequestTopic {
        name: name.into(),
        partitions,
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        retention_time_ms: if version < 5 { 1_000 } else { -1 },
        topics: vec![
            topic("t", vec![partition(0, 5), partition(1, 6)]),
            topic("none", vec![partition(0, 7)]),
        ],
        ..Default::default()
    }
}

#[test]
fn rule_142_commits_are_checked_against_the_metadata_and_read_back_in_every_version() {
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    for version in 2..=9 {
        let mut wire = Wire::new();
        let response = wire.send(&commit(version, -1), version);
        let errors: Vec<_> = response
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|it| it.error_code))
            .collect();
        assert_eq!(errors, [0, unknown, unknown], "version {version}");
        for fetch_version in 1..=9 {
            assert_eq!(
                fetched(&mut wire, fetch_version),
                [5, -1],
                "OffsetFetch {fetch_version}"
            );
        }
    }
}

fn fetched(wire: &mut Wire, version: i16) -> Vec<i64> {
    let mut request = OffsetFetchRequest::default();
    if version < 8 {
        request.group_id = "g".into();
        request.topics = Some(vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0, 1],
            ..Default::default()
        }]);
        let response: OffsetFetchResponse = wire.send(&request, version);
        response.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.committed_offset)
            .collect()
    } else {
        request.topics = Some(Vec::new());
        request.groups = vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0, 1],
                ..Default::default()
            }]),
            ..Default::default()
        }];
        let response: OffsetFetchResponse = wire.send(&request, version);
        response.groups[0].topics[0]
            .partitions
            .iter()
            .map(|partition| partition.committed_offset)
            .collect()
    }
}

#[test]
fn rule_83_an_unknown_group_is_named_from_version_9_on() {
    for version in 2..=9 {
        let response = Wire::new().send(&commit(version, 3), version);
        let expected = if version < 9 {
            ErrorCode::IllegalGeneration
        } else {
            ErrorCode::GroupIdNotFound
        };
        assert_eq!(response.topics[0].partitions[0].error_code, expected.code());
    }
}

#[test]
fn rule_86_a_group_that_does_not_exist_is_dead_and_from_version_6_an_error() {
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec!["none".into()],
            ..Default::default()
        };
        let response: DescribeGroupsResponse = Wire::new().send(&request, version);
        let group = &response.groups[0];
        let expected = if version < 6 {
            ErrorCode::None
        } else {
            ErrorCode::GroupIdNotFound
        };
        assert_eq!((group.error_code, &*group.group_state), (expected.code(), "Dead"));
        assert_eq!(group.error_message.is_some(), version >= 6);
    }
}

#[test]
fn what_is_not_in_the_table_or_not_a_request_is_refused() {
    let wire = Wire::new();
    let context = Context {
        version: 10,
        client_id: "",
        client_host: "",
        image: &wire.image,
        member_uuid: Uuid::nil(),
    };
    for api_key in [ApiKey::OffsetCommit.code(), ApiKey::Produce.code(), -1] {
        let refused = decode(api_key.into(), Bytes::new(), &context).err();
        assert_eq!(refused, Some(ErrorCode::UnsupportedVersion));
    }
    for api in &APIS {
        let garbage = Bytes::from_static(&[0xFF; 40]);
        let context = Context {
            version: *api.versions.end(),
            ..context
        };
        assert_eq!(
            (api.decode)(garbage, &context).err(),
            Some(ErrorCode::InvalidRequest),
            "{:?}",
            api.key
        );
    }
}
