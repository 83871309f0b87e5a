use std::time::Duration;

use highwater_proto::kafka::ErrorCode;

use super::harness::*;
use crate::group::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CHECK: Duration = Duration::from_secs(10 * 60);

#[test]
fn rule_85_offsets_of_a_simple_group_expire_a_week_after_the_commit() {
    let mut h = Harness::new();
    h.commit(commit("g", "a", 1));
    h.advance(3 * DAY);
    h.commit(commit("g", "b", 2));
    h.advance(4 * DAY + CHECK);
    assert_eq!((h.committed("g", "a"), h.committed("g", "b")), (-1, 2));
    h.advance(3 * DAY);
    assert!(!h.exists("g"), "the group goes with its last offset");
    h.reload();
    assert!(!h.exists("g"));
    assert_eq!((h.committed("g", "a"), h.committed("g", "b")), (-1, -1));
}

#[test]
fn rule_85_an_explicit_retention_is_kept() {
    let mut h = Harness::new();
    let request = OffsetCommit {
        retention: Some(30 * MINUTE),
        ..commit("g", "t", 1)
    };
    h.commit(request);
    h.advance(29 * MINUTE);
    assert_eq!(h.committed("g", "t"), 1);
    h.advance(CHECK);
    assert_eq!(h.committed("g", "t"), -1);
}

/// Lets time pass while the members of a group heartbeat.
fn heartbeat_for(h: &mut Harness, group: &str, ids: &[std::sync::Arc<str>], duration: Duration) {
    let step = Duration::from_secs(1500);
    for _ in 0..duration.as_secs() / step.as_secs() {
        h.advance(step);
        for id in ids {
            assert_eq!(h.heartbeat(group, id, 1), ErrorCode::None);
        }
    }
}

#[test]
fn rule_85_a_stable_group_loses_only_what_nobody_subscribes_to() {
    let mut h = Harness::new();
    let long = JoinGroup {
        session_timeout: 30 * MINUTE,
        ..member("g")
    };
    let ids = h.stable("g", &[long]);
    h.commit(commit_as("g", "t", 1, &ids[0], 1));
    h.commit(commit_as("g", "unsubscribed", 2, &ids[0], 1));
    heartbeat_for(&mut h, "g", &ids, 8 * DAY);
    assert_eq!((h.committed("g", "t"), h.committed("g", "unsubscribed")), (1, -1));
    h.leave("g", &[(&ids[0], None)]);
    h.advance(6 * DAY);
    assert_eq!(
        h.committed("g", "t"),
        1,
        "the week counts from when the group turned empty"
    );
    h.advance(DAY + CHECK);
    assert!(!h.exists("g"));
}

#[test]
fn rule_85_a_group_of_another_type_with_members_keeps_everything() {
    let mut h = Harness::new();
    let connect = JoinGroup {
        session_timeout: 30 * MINUTE,
        protocol_type: "connect".into(),
        ..member("g")
    };
    let ids = h.stable("g", &[connect]);
    h.commit(commit_as("g", "t", 1, &ids[0], 1));
    heartbeat_for(&mut h, "g", &ids, 8 * DAY);
    assert_eq!(h.committed("g", "t"), 1);
}

#[test]
fn rule_145_an_empty_group_without_offsets_vanishes_at_the_next_scan() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    h.leave("g", &[(&ids[0], None)]);
    h.advance(CHECK);
    assert!(!h.exists("g"));
    h.reload();
    assert!(!h.exists("g"));
}

#[test]
fn rule_145_an_unreadable_subscription_counts_as_one_to_everything() {
    let mut h = Harness::new();
    let odd = JoinGroup {
        session_timeout: 30 * MINUTE,
        protocols: vec![protocol("range", b"?")],
        ..member("g")
    };
    let ids = h.stable("g", &[odd]);
    h.commit(commit_as("g", "t", 1, &ids[0], 1));
    heartbeat_for(&mut h, "g", &ids, 8 * DAY);
    assert_eq!(h.committed("g", "t"), 1);
}
