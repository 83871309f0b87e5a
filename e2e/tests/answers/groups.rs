//! Groups and their offsets.

use crate::table::Row;
use highwater_e2e::raw::{group_id, text};
use kafka_protocol::messages::*;

pub(crate) const GROUPS: &[Row] = &[
    ("JoinGroup v4 without a member id", "79 and a generated id", |t| {
        let group = t.name("join");
        let answer = t.join(&group, "", 10_000);
        let generated = if answer.member_id.is_empty() {
            "no"
        } else {
            "a generated"
        };
        format!("{} and {generated} id", answer.error_code)
    }),
    ("JoinGroup by an unknown member", "25", |t| {
        let g = t.name("j25");
        t.join(&g, "nobody", 10_000).error_code.to_string()
    }),
    ("JoinGroup with a session of 1 ms", "26", |t| {
        let g = t.name("j26");
        t.join(&g, "", 1).error_code.to_string()
    }),
    ("JoinGroup without a group id", "24", |t| {
        t.join("", "", 10_000).error_code.to_string()
    }),
    ("Heartbeat by an unknown member", "25", |t| {
        let group = t.name("beat");
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&group))
            .with_member_id(text("nobody"))
            .with_generation_id(1);
        t.raw.call(4, &request).unwrap().error_code.to_string()
    }),
    ("OffsetCommit by a member of an unknown group", "22", |t| {
        let g = t.name("c22");
        t.commit(&g, "nobody", 1)
    }),
    ("OffsetCommit by an unknown member", "25", |t| {
        let g = t.name("c25");
        t.commit(&g, "", -1);
        t.commit(&g, "nobody", 1)
    }),
    ("OffsetCommit without a member (generation -1)", "0", |t| {
        let g = t.name("c0");
        t.commit(&g, "", -1)
    }),
    ("OffsetFetch of an unknown group", "0, offset -1", |t| {
        let topic = t.topic("ofetch", &[]);
        let offsets = t.raw.committed("no-such-group", &topic, 1);
        offsets.map_or_else(|e| e.to_string(), |o| format!("0, offset {}", o[0]))
    }),
    ("DescribeGroups v6 of an unknown group", "69, Dead", |t| {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id("no-such-group")]);
        let answer = t.raw.call(6, &request).unwrap();
        format!(
            "{}, {}",
            answer.groups[0].error_code,
            answer.groups[0].group_state.as_str()
        )
    }),
    ("DescribeGroups v5 of an unknown group", "0, Dead", |t| {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id("no-such-group")]);
        let answer = t.raw.call(5, &request).unwrap();
        format!(
            "{}, {}",
            answer.groups[0].error_code,
            answer.groups[0].group_state.as_str()
        )
    }),
    ("DescribeGroups of a group named twice", "two Empty", |t| {
        let group = t.name("twice");
        t.commit(&group, "", -1);
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(&group), group_id(&group)]);
        let answer = t.raw.call(5, &request).unwrap();
        let states = answer.groups.iter().map(|it| (it.error_code, it.group_state.as_str()));
        let states: Vec<_> = states.collect();
        let same = states == [(0, "Empty"); 2];
        if same {
            "two Empty".to_owned()
        } else {
            format!("{states:?}")
        }
    }),
    ("DescribeGroups with authorized operations", "3400", |t| {
        let group = t.name("allowed");
        t.commit(&group, "", -1);
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group_id(&group)])
            .with_include_authorized_operations(true);
        t.raw.call(5, &request).unwrap().groups[0]
            .authorized_operations
            .to_string()
    }),
    (
        "DescribeGroups v6 of an unknown group with authorized operations",
        "-2147483648",
        |t| {
            let request = DescribeGroupsRequest::default()
                .with_groups(vec![group_id("no-such-group")])
                .with_include_authorized_operations(true);
            t.raw.call(6, &request).unwrap().groups[0]
                .authorized_operations
                .to_string()
        },
    ),
    ("DeleteGroups of a group named twice", "one 0", |t| {
        let group = t.name("gone");
        t.commit(&group, "", -1);
        let names = vec![group_id(&group), group_id(&group)];
        let request = DeleteGroupsRequest::default().with_groups_names(names);
        let results = t.raw.call(2, &request).unwrap().results;
        let codes: Vec<_> = results.iter().map(|it| it.error_code).collect();
        if codes == [0] {
            "one 0".to_owned()
        } else {
            format!("{codes:?}")
        }
    }),
    ("DeleteGroups of an unknown group", "69", |t| {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id("no-such-group")]);
        t.raw.call(2, &request).unwrap().results[0].error_code.to_string()
    }),
];
