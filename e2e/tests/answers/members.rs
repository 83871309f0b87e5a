//! Members of a group that exists, and requests beside its state.

use crate::table::{Row, Table};
use bytes::Bytes;
use highwater_e2e::raw::{group_id, text, topic_name};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::*;

pub(crate) const MEMBERS: &[Row] = &[
    ("JoinGroup with a protocol that the group has not", "23", |t| {
        let (group, _, _) = t.member("j23");
        let protocol = JoinGroupRequestProtocol::default().with_name(text("sticky"));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&group))
            .with_protocol_type(text("consumer"))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocols(vec![protocol]);
        t.raw.call(5, &request).unwrap().error_code.to_string()
    }),
    ("JoinGroup without a protocol", "23", |t| {
        let group = t.name("j23b");
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&group))
            .with_protocol_type(text("consumer"))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000);
        t.raw.call(3, &request).unwrap().error_code.to_string()
    }),
    ("SyncGroup by an unknown member", "25", |t| {
        let (group, _, generation) = t.member("s25");
        t.sync(&group, "nobody", generation)
    }),
    ("SyncGroup of another generation", "22", |t| {
        let (group, member, generation) = t.member("s22");
        t.sync(&group, &member, generation + 7)
    }),
    ("Heartbeat of another generation", "22", |t| {
        let (group, member, generation) = t.member("h22");
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&group))
            .with_member_id(text(&member))
            .with_generation_id(generation + 7);
        t.raw.call(4, &request).unwrap().error_code.to_string()
    }),
    ("OffsetCommit of another generation", "22", |t| {
        let (group, member, generation) = t.member("c22");
        t.commit(&group, &member, generation + 7)
    }),
    ("OffsetCommit without a member while the group has some", "25", |t| {
        let (group, _, _) = t.member("c25");
        t.commit(&group, "", -1)
    }),
    ("LeaveGroup v4 by an unknown member", "0, member 25", |t| {
        let (group, _, _) = t.member("l25");
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(&group))
            .with_members(vec![MemberIdentity::default().with_member_id(text("nobody"))]);
        let answer = t.raw.call(4, &request).unwrap();
        format!("{}, member {}", answer.error_code, answer.members[0].error_code)
    }),
    ("DeleteGroups of a group with members", "68", |t| {
        let (group, _, _) = t.member("d68");
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(&group)]);
        t.raw.call(2, &request).unwrap().results[0].error_code.to_string()
    }),
    ("OffsetDelete of an unknown group", "69", |t| {
        let request = OffsetDeleteRequest::default().with_group_id(group_id("no-such-group"));
        t.raw.call(0, &request).unwrap().error_code.to_string()
    }),
    ("OffsetDelete without a group id", "24", |t| {
        t.commit("", "", -1);
        let request = OffsetDeleteRequest::default().with_group_id(group_id(""));
        t.raw.call(0, &request).unwrap().error_code.to_string()
    }),
    ("OffsetFetch v8 of a group named twice", "two with one topic", |t| {
        let group = t.name("fetched");
        t.commit(&group, "", -1);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(&group))
            .with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![group.clone(), group]);
        let groups = t.raw.call(8, &request).unwrap().groups;
        let topics: Vec<_> = groups.iter().map(|it| (it.error_code, it.topics.len())).collect();
        let same = topics == [(0, 1); 2];
        if same {
            "two with one topic".to_owned()
        } else {
            format!("{topics:?}")
        }
    }),
    ("OffsetFetch v9 of an unknown group", "0, offset -1", |t| {
        let topics = OffsetFetchRequestTopics::default()
            .with_name(topic_name("no-such-topic"))
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id("no-such-group"))
            .with_member_epoch(-1)
            .with_topics(Some(vec![topics]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let answer = &t.raw.call(9, &request).unwrap().groups[0];
        let offset = answer.topics[0].partitions[0].committed_offset;
        format!("{}, offset {offset}", answer.error_code)
    }),
    (
        "OffsetFetch v8 of all offsets of an unknown group",
        "0, no topics",
        |t| {
            let group = OffsetFetchRequestGroup::default()
                .with_group_id(group_id("no-such-group"))
                .with_topics(None);
            let request = OffsetFetchRequest::default().with_groups(vec![group]);
            let answer = &t.raw.call(8, &request).unwrap().groups[0];
            let topics = if answer.topics.is_empty() { "no" } else { "some" };
            format!("{}, {topics} topics", answer.error_code)
        },
    ),
    ("FindCoordinator of a kind that is none", "42", |t| {
        let request = FindCoordinatorRequest::default()
            .with_key_type(9)
            .with_coordinator_keys(vec![text("any")]);
        t.raw.call(4, &request).unwrap().coordinators[0].error_code.to_string()
    }),
];

impl Table {
    /// A group with one member that has joined: its name, the member's id and the generation.
    fn member(&mut self, name: &str) -> (String, String, i32) {
        let group = self.name(name);
        let id = self.join(&group, "", 10_000).member_id;
        let joined = self.join(&group, &id, 10_000);
        assert_eq!(joined.error_code, 0, "it joins");
        let code = self.sync(&group, &id, joined.generation_id);
        assert_eq!(code, "0", "and is given its partitions");
        (group, id.to_string(), joined.generation_id)
    }

    fn sync(&mut self, group: &str, member: &str, generation: i32) -> String {
        let assignment = sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]));
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(text(member))
            .with_generation_id(generation)
            .with_assignments(vec![assignment]);
        self.raw.call(4, &request).unwrap().error_code.to_string()
    }
}
