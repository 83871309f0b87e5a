use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;

use super::harness::*;
use crate::group::*;

const SECOND: Duration = Duration::from_secs(1);

/// Two members that have joined but not synced: (leader, follower).
fn joined(h: &mut Harness) -> [JoinGroupReply; 2] {
    let tokens = [h.join(member("g")), h.join(member("g"))];
    h.advance(6 * SECOND);
    tokens.map(|token| h.joined(token))
}

#[test]
fn rule_78_followers_wait_for_the_leader_and_a_missing_assignment_is_empty() {
    let mut h = Harness::new();
    let [leader, follower] = joined(&mut h);
    let waiting = h.sync(sync("g", &follower.member_id, 1, Vec::new()));
    assert!(h.is_parked(waiting));
    let written = h.log.len();
    let assignments = vec![
        (leader.member_id.clone(), assignment("leader")),
        ("stranger".into(), Bytes::new()),
    ];
    let reply = h.sync_now(sync("g", &leader.member_id, 1, assignments));
    assert_eq!((reply.error, reply.assignment), (ErrorCode::None, assignment("leader")));
    assert_eq!(reply.protocol_name.as_deref(), Some("range"));
    assert_eq!(h.synced(waiting).assignment, Bytes::new());
    assert_eq!(
        h.log.len(),
        written + 1,
        "the assignment is written before anybody hears of it"
    );
    let again = h.sync_now(sync("g", &leader.member_id, 1, Vec::new()));
    assert_eq!(
        again.assignment,
        assignment("leader"),
        "a repeat gets the stored assignment"
    );
}

#[test]
fn rule_78_the_checks_come_in_kafkas_order() {
    let mut h = Harness::new();
    let [leader, _] = joined(&mut h);
    let wrong = |member: &str, generation, protocol: &str| SyncGroup {
        protocol_name: Some(protocol.into()),
        ..sync("g", member, generation, Vec::new())
    };
    assert_eq!(
        h.sync_now(sync("", "m", 1, Vec::new())).error,
        ErrorCode::InvalidGroupId
    );
    assert_eq!(
        h.sync_now(sync("none", "m", 1, Vec::new())).error,
        ErrorCode::UnknownMemberId
    );
    assert_eq!(h.sync_now(wrong("nobody", 7, "x")).error, ErrorCode::UnknownMemberId);
    assert_eq!(
        h.sync_now(wrong(&leader.member_id, 7, "x")).error,
        ErrorCode::IllegalGeneration
    );
    let inconsistent = h.sync_now(wrong(&leader.member_id, 1, "x")).error;
    assert_eq!(inconsistent, ErrorCode::InconsistentGroupProtocol);
    let fenced = SyncGroup {
        instance_id: Some("i".into()),
        ..sync("g", &leader.member_id, 1, Vec::new())
    };
    assert_eq!(h.sync_now(fenced).error, ErrorCode::UnknownMemberId);
    h.commit(commit("simple", "t", 1));
    assert_eq!(
        h.sync_now(sync("simple", "m", 0, Vec::new())).error,
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn rule_78_a_rebalance_answers_parked_syncs() {
    let mut h = Harness::new();
    let [leader, follower] = joined(&mut h);
    let waiting = h.sync(sync("g", &follower.member_id, 1, Vec::new()));
    h.join(member("g"));
    let reply = h.synced(waiting);
    assert_eq!(
        (reply.error, reply.assignment),
        (ErrorCode::RebalanceInProgress, Bytes::new())
    );
    let early = h.sync_now(sync("g", &leader.member_id, 1, Vec::new()));
    assert_eq!(early.error, ErrorCode::RebalanceInProgress);
}

#[test]
fn rule_79_heartbeats_are_checked_and_keep_the_session() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    assert_eq!(h.heartbeat("", &ids[0], 1), ErrorCode::InvalidGroupId);
    assert_eq!(h.heartbeat("none", &ids[0], 1), ErrorCode::UnknownMemberId);
    assert_eq!(h.heartbeat("g", "nobody", 9), ErrorCode::UnknownMemberId);
    assert_eq!(h.heartbeat("g", &ids[0], 9), ErrorCode::IllegalGeneration);
    for _ in 0..5 {
        h.advance(SESSION - SECOND);
        assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::None);
    }
    h.join(member("g"));
    for _ in 0..3 {
        h.advance(SESSION - SECOND);
        assert_eq!(
            h.heartbeat("g", &ids[0], 1),
            ErrorCode::RebalanceInProgress,
            "and its session goes on"
        );
    }
}

#[test]
fn rule_80_an_assignment_too_large_to_store_fails_the_generation() {
    let mut h = Harness::with(GroupConfig {
        max_append_bytes: 2_000,
        ..GroupConfig::default()
    });
    let [leader, follower] = joined(&mut h);
    let waiting = h.sync(sync("g", &follower.member_id, 1, Vec::new()));
    let written = h.log.len();
    let huge = vec![(leader.member_id.clone(), Bytes::from(vec![0; 3_000]))];
    let token = h.sync(sync("g", &leader.member_id, 1, huge));
    assert_eq!(h.synced(token).error, ErrorCode::UnknownServerError);
    assert_eq!(h.synced(waiting).error, ErrorCode::UnknownServerError);
    assert_eq!((h.log.len(), h.state("g")), (written, "PreparingRebalance"));
}

#[test]
fn rule_139_a_lost_member_causes_a_rebalance_and_a_parked_one_is_never_lost() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g"), member("g")]);
    h.advance(SESSION - SECOND);
    assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::None);
    h.advance(SECOND);
    assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::RebalanceInProgress);
    assert_eq!(h.heartbeat("g", &ids[1], 1), ErrorCode::UnknownMemberId);
    let alone = h.join_now(rejoin(&member("g"), &ids[0]));
    assert_eq!((alone.generation, alone.members.len()), (2, 1));

    let mut h = Harness::new();
    let [leader, follower] = joined(&mut h);
    let waiting = h.sync(sync("g", &follower.member_id, 1, Vec::new()));
    for _ in 0..5 {
        h.advance(SESSION - SECOND);
        assert_eq!(h.heartbeat("g", &leader.member_id, 1), ErrorCode::None);
    }
    assert!(h.is_parked(waiting));
    h.sync_now(sync("g", &leader.member_id, 1, Vec::new()));
    h.advance(SESSION - SECOND);
    assert_eq!(
        h.heartbeat("g", &follower.member_id, 1),
        ErrorCode::None,
        "its timer restarts with the answer"
    );
}

#[test]
fn rule_140_members_that_do_not_sync_in_time_are_removed() {
    let mut h = Harness::new();
    let tokens = [h.join(member("g")), h.join(member("g")), h.join(member("g"))];
    h.advance(6 * SECOND);
    let [leader, second, lazy] = tokens.map(|token| h.joined(token));
    for reply in [&leader, &second] {
        h.sync(sync("g", &reply.member_id, 1, Vec::new()));
    }
    assert_eq!(h.state("g"), "Stable");
    for _ in 0..12 {
        h.advance(5 * SECOND - Duration::from_millis(1));
        for reply in [&leader, &second, &lazy] {
            assert_eq!(h.heartbeat("g", &reply.member_id, 1), ErrorCode::None);
        }
    }
    h.advance(SECOND);
    assert_eq!(h.heartbeat("g", &leader.member_id, 1), ErrorCode::RebalanceInProgress);
    assert_eq!(h.heartbeat("g", &lazy.member_id, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_process_that_was_silent_itself_expires_nobody() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    h.now.monotonic += 5 * SESSION;
    let mut effects = Effects::default();
    h.groups.tick(h.now, &mut effects);
    h.take(effects);
    assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::None);
    h.advance(SESSION - Duration::from_secs(1));
    assert_eq!(h.state("g"), "Stable");
    h.advance(Duration::from_secs(1));
    assert_eq!(h.state("g"), "Empty");
}
