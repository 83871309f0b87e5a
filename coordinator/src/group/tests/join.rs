use std::time::Duration;

use highwater_proto::kafka::ErrorCode;

use super::harness::*;
use crate::group::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn rule_73_bad_joins_are_refused_in_kafkas_order() {
    let mut h = Harness::with(GroupConfig {
        max_size: 1,
        ..GroupConfig::default()
    });
    let both = JoinGroup {
        session_timeout: SECOND,
        ..member("")
    };
    assert_eq!(h.join_now(both).error, ErrorCode::InvalidGroupId);
    let short_and_unknown = JoinGroup {
        session_timeout: SECOND,
        ..rejoin(&member("g"), "m")
    };
    assert_eq!(h.join_now(short_and_unknown).error, ErrorCode::InvalidSessionTimeout);
    let long = JoinGroup {
        session_timeout: Duration::from_secs(1801),
        ..member("g")
    };
    assert_eq!(h.join_now(long).error, ErrorCode::InvalidSessionTimeout);
    assert_eq!(h.join_now(rejoin(&member("g"), "m")).error, ErrorCode::UnknownMemberId);
    for request in [
        JoinGroup {
            protocols: Vec::new(),
            ..member("g")
        },
        JoinGroup {
            protocol_type: "".into(),
            ..member("g")
        },
    ] {
        let reply = h.join_now(request);
        assert_eq!(
            (reply.error, &*reply.member_id),
            (ErrorCode::InconsistentGroupProtocol, "")
        );
    }
    assert!(!h.exists("g"), "a refused join creates no group");

    h.stable("g", &[member("g")]);
    let full_and_inconsistent = JoinGroup {
        protocols: vec![protocol("other", b"")],
        ..member("g")
    };
    let reply = h.join_now(full_and_inconsistent);
    assert_eq!((reply.error, &*reply.member_id), (ErrorCode::GroupMaxSizeReached, ""));
}

#[test]
fn rule_73_a_protocol_must_be_supported_by_all_but_an_empty_group_takes_any_type() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    for request in [
        JoinGroup {
            protocols: vec![protocol("other", b"")],
            ..member("g")
        },
        JoinGroup {
            protocol_type: "connect".into(),
            ..member("g")
        },
    ] {
        assert_eq!(h.join_now(request).error, ErrorCode::InconsistentGroupProtocol);
    }
    assert_eq!(h.leave("g", &[(&ids[0], None)]), [ErrorCode::None]);
    let connect = JoinGroup {
        protocol_type: "connect".into(),
        protocols: vec![protocol("v1", b"x")],
        ..member("g")
    };
    h.stable("g", &[connect]);
    assert_eq!(&*h.describe("g").protocol_type, "connect");
}

#[test]
fn rule_74_a_first_join_gets_an_id_and_blocks_the_join_phase_until_it_comes_back_or_expires() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    let fresh = JoinGroup {
        requires_known_member_id: true,
        ..member("g")
    };
    let reply = h.join_now(fresh.clone());
    assert_eq!(reply.error, ErrorCode::MemberIdRequired);
    assert_eq!(&*reply.member_id, format!("client-{}", fresh.member_uuid));
    assert_eq!(h.state("g"), "Stable", "a pending member starts no rebalance");
    assert_eq!(h.join_now(rejoin(&fresh, "nobody")).error, ErrorCode::UnknownMemberId);

    let leader = h.join(rejoin(&member("g"), &ids[0]));
    assert!(h.is_parked(leader), "the pending member is waited for");
    let second = h.join(rejoin(&fresh, &reply.member_id));
    assert_eq!(h.joined(leader).generation, 2);
    assert_eq!(h.joined(second).generation, 2);
}

#[test]
fn rule_74_a_pending_member_expires_after_its_session_timeout() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    h.join_now(JoinGroup {
        requires_known_member_id: true,
        ..member("g")
    });
    let leader = h.join(rejoin(&member("g"), &ids[0]));
    h.advance(SESSION - SECOND);
    assert!(h.is_parked(leader));
    h.advance(SECOND);
    assert_eq!(h.joined(leader).generation, 2);
}

#[test]
fn rule_76_the_first_rebalance_waits_and_is_extended_by_new_members() {
    let mut h = Harness::new();
    let first = h.join(member("g"));
    h.advance(SECOND);
    let second = h.join(member("g"));
    h.advance(2 * SECOND);
    assert!(h.is_parked(first), "extended because somebody came");
    h.advance(3 * SECOND);
    assert_eq!(h.joined(first).generation, 1);
    assert_eq!(h.joined(second).generation, 1);
}

#[test]
fn rule_76_the_extension_ends_with_the_rebalance_timeout() {
    let mut h = Harness::new();
    let impatient = JoinGroup {
        rebalance_timeout: 5 * SECOND,
        ..member("g")
    };
    let mut tokens = vec![h.join(impatient.clone())];
    for _ in 0..4 {
        h.advance(SECOND);
        tokens.push(h.join(impatient.clone()));
    }
    assert!(h.is_parked(tokens[0]));
    h.advance(SECOND);
    for token in tokens {
        assert_eq!(h.joined(token).generation, 1);
    }
}

#[test]
fn rule_76_absent_dynamic_members_go_at_the_rebalance_timeout_and_static_ones_stay() {
    let mut h = Harness::new();
    let patient = |request: JoinGroup| JoinGroup {
        session_timeout: Duration::from_secs(600),
        ..request
    };
    let requests = [
        patient(member("g")),
        patient(member("g")),
        patient(static_member("g", "i")),
    ];
    let ids = h.stable("g", &requests);
    let joiner = ids.iter().find(|id| id.starts_with("client")).unwrap().clone();
    let token = h.join(JoinGroup {
        protocols: vec![protocol("range", b"changed")],
        ..rejoin(&requests[0], &joiner)
    });
    h.advance(REBALANCE - SECOND);
    assert!(h.is_parked(token));
    h.advance(SECOND);
    let reply = h.joined(token);
    assert_eq!(
        (reply.generation, &reply.leader),
        (2, &joiner),
        "an absent leader is replaced by a joined member"
    );
    let mut left: Vec<_> = reply
        .members
        .iter()
        .map(|member| member.instance_id.as_deref())
        .collect();
    left.sort_unstable();
    assert_eq!(left, [None, Some("i")]);
}

#[test]
fn rule_77_everybody_gets_the_generation_and_the_leader_the_members() {
    let mut h = Harness::new();
    let votes = |first: &str, second: &str| JoinGroup {
        protocols: vec![protocol(first, first.as_bytes()), protocol(second, second.as_bytes())],
        ..member("g")
    };
    let tokens = [
        h.join(votes("a", "b")),
        h.join(votes("b", "a")),
        h.join(votes("b", "a")),
        h.join(JoinGroup {
            protocols: vec![protocol("c", b"c"), protocol("b", b"b"), protocol("a", b"a")],
            ..member("g")
        }),
    ];
    h.advance(10 * SECOND);
    let replies = tokens.map(|token| h.joined(token));
    let leader = replies[0].leader.clone();
    assert_eq!(leader, replies[0].member_id, "the first member leads");
    for reply in &replies {
        assert_eq!(reply.protocol_name.as_deref(), Some("b"));
        assert_eq!(
            (reply.generation, &reply.leader, reply.skip_assignment),
            (1, &leader, false)
        );
        assert_eq!(reply.members.len(), if reply.member_id == leader { 4 } else { 0 });
    }
    assert!(replies[0].members.iter().all(|member| &*member.metadata == b"b"));
}

#[test]
fn rule_81_a_returning_static_member_of_a_stable_group_causes_no_rebalance() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[static_member("g", "leader"), static_member("g", "follower")]);
    let written = h.log.len();

    let follower = JoinGroup {
        protocols: vec![protocol("range", b"changed bytes, same protocol")],
        ..static_member("g", "follower")
    };
    let reply = h.join_now(follower);
    assert_eq!((reply.error, reply.generation), (ErrorCode::None, 1));
    assert_ne!(reply.member_id, ids[1]);
    assert!(!reply.skip_assignment && reply.members.is_empty());
    assert_eq!(h.log.len(), written + 1, "the new id is written");
    let synced = h.sync_now(sync("g", &reply.member_id, 1, Vec::new()));
    assert_eq!(synced.assignment, assignment(&ids[1]), "the assignment stays");

    assert_eq!(
        h.heartbeat_static("g", &ids[1], Some("follower"), 1),
        ErrorCode::FencedInstanceId
    );
    assert_eq!(
        h.heartbeat_static("g", &ids[1], Some("unknown"), 1),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(
        h.heartbeat_static("g", &reply.member_id, Some("follower"), 1),
        ErrorCode::None
    );

    let leader = h.join_now(static_member("g", "leader"));
    assert!(leader.skip_assignment && leader.leader == leader.member_id);
    assert_eq!(leader.members.len(), 2);
    let old_client = JoinGroup {
        supports_skip_assignment: false,
        ..static_member("g", "leader")
    };
    let reply = h.join_now(old_client);
    assert_eq!(
        reply.leader, leader.member_id,
        "an old client returns as a follower of its old id"
    );
    assert!(reply.members.is_empty() && !reply.skip_assignment);
    assert_eq!(h.state("g"), "Stable");
}

#[test]
fn rule_81_a_returning_static_member_rebalances_if_the_protocol_changes_or_the_assignment_is_open() {
    let mut h = Harness::new();
    let both = |instance: &str| JoinGroup {
        protocols: vec![protocol("a", b""), protocol("b", b"")],
        ..static_member("g", instance)
    };
    h.stable("g", &[both("1"), both("2")]);
    let only_b = JoinGroup {
        protocols: vec![protocol("b", b"")],
        ..static_member("g", "2")
    };
    let token = h.join(only_b);
    assert!(h.is_parked(token));
    assert_eq!(h.state("g"), "PreparingRebalance");
    let first = h.join(both("1"));
    assert_eq!(h.joined(token).protocol_name.as_deref(), Some("b"));
    let generation = h.joined(first).generation;
    assert_eq!((generation, h.state("g")), (2, "CompletingRebalance"));
    let back = h.join(both("1"));
    assert!(h.is_parked(back));
    assert_eq!(h.state("g"), "PreparingRebalance");
}

#[test]
fn rule_81_parked_requests_of_the_replaced_id_are_fenced_at_once() {
    let mut h = Harness::new();
    let old = h.join(static_member("g", "i"));
    let new = h.join(static_member("g", "i"));
    assert_eq!(h.joined(old).error, ErrorCode::FencedInstanceId);
    h.advance(6 * SECOND);
    let reply = h.joined(new);
    assert_eq!((reply.error, reply.members.len()), (ErrorCode::None, 1));

    let mut h = Harness::new();
    let tokens = [h.join(static_member("g", "1")), h.join(static_member("g", "2"))];
    h.advance(6 * SECOND);
    let [_, follower] = tokens.map(|token| h.joined(token));
    let parked = h.sync(sync("g", &follower.member_id, 1, Vec::new()));
    h.join(static_member("g", "2"));
    assert_eq!(h.synced(parked).error, ErrorCode::FencedInstanceId);
}

#[test]
fn rule_138_a_rejoin_without_change_is_answered_with_the_present_generation() {
    let mut h = Harness::new();
    let request = member("g");
    let ids = h.stable("g", &[request.clone(), request.clone()]);
    let follower = h.join_now(rejoin(&request, &ids[1]));
    assert_eq!((follower.generation, follower.members.len()), (1, 0));
    assert_eq!(h.state("g"), "Stable");

    let leader = h.join(rejoin(&request, &ids[0]));
    assert!(h.is_parked(leader), "a leader that rejoins wants a new assignment");
    let follower = h.join(rejoin(&request, &ids[1]));
    assert_eq!((h.joined(leader).generation, h.joined(follower).generation), (2, 2));
    assert_eq!(h.state("g"), "CompletingRebalance");
    assert_eq!(
        h.join_now(rejoin(&request, &ids[0])).members.len(),
        2,
        "the first reply may be lost"
    );
    let changed = JoinGroup {
        protocols: vec![protocol("range", b"changed")],
        ..rejoin(&request, &ids[1])
    };
    let token = h.join(changed);
    assert!(h.is_parked(token));
    assert_eq!(h.state("g"), "PreparingRebalance");
}

#[test]
fn rule_138_a_follower_whose_protocols_changed_causes_a_rebalance() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g"), member("g")]);
    let changed = JoinGroup {
        protocols: vec![protocol("range", b"changed")],
        ..rejoin(&member("g"), &ids[1])
    };
    h.join(changed);
    assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn rule_139_a_new_members_parked_join_is_dropped_after_five_minutes() {
    let mut h = Harness::new();
    let lasting = JoinGroup {
        session_timeout: Duration::from_secs(1800),
        rebalance_timeout: Duration::from_secs(3600),
        ..member("g")
    };
    let ids = h.stable("g", &[lasting.clone(), lasting.clone()]);
    let new = h.join(member("g"));
    h.advance(Duration::from_secs(299));
    assert!(
        h.is_parked(new),
        "its session timeout does not count while it is parked"
    );
    h.advance(SECOND);
    let reply = h.joined(new);
    assert_eq!((reply.error, &*reply.member_id), (ErrorCode::UnknownMemberId, ""));

    let token = h.join(rejoin(&lasting, &ids[0]));
    h.advance(Duration::from_secs(1000));
    assert!(h.is_parked(token), "a known member's parked join never expires");
}

#[test]
fn a_repeated_join_of_a_member_answers_the_older_one() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g"), member("g")]);
    let older = h.join(rejoin(&member("g"), &ids[0]));
    let newer = h.join(rejoin(&member("g"), &ids[0]));
    assert_eq!(h.joined(older).error, ErrorCode::RebalanceInProgress);
    assert!(h.is_parked(newer));
}

#[test]
fn absent_static_members_without_a_rebalance_timeout_keep_nobody_busy() {
    let mut h = Harness::new();
    let token = h.join(JoinGroup {
        rebalance_timeout: Duration::ZERO,
        session_timeout: Duration::from_secs(600),
        ..static_member("g", "i")
    });
    let other = h.join(member("g"));
    h.advance(6 * SECOND);
    let (absent, leaves) = (h.joined(token), h.joined(other));
    for reply in [&absent, &leaves] {
        h.sync(sync("g", &reply.member_id, reply.generation, Vec::new()));
    }
    h.leave("g", &[(&leaves.member_id, None)]);
    h.advance(SECOND);
    assert_eq!(h.state("g"), "PreparingRebalance");
    h.advance(Duration::from_secs(600));
    assert_eq!(h.state("g"), "Empty");
}
