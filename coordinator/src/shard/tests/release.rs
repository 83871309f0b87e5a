//! Handing a shard over.

use super::*;

#[test]
fn a_release_finishes_what_is_in_flight_and_sends_the_parked_away() {
    let mut h = Harness::serving();
    let join = h.send(Request::JoinGroup(JoinGroup {
        group_id: "j".into(),
        member_id: "".into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(10),
        protocol_type: "consumer".into(),
        protocols: vec![MemberProtocol {
            name: "range".into(),
            metadata: Bytes::new(),
        }],
        member_uuid: uuid::Uuid::nil(),
        requires_known_member_id: false,
        supports_skip_assignment: true,
    }));
    let write = h.send(commit(1));
    h.shard.release(h.now);
    let late = h.send(commit(2));
    assert_eq!(h.reply(late), Some(Err(ErrorCode::NotCoordinator)));
    assert_eq!(h.reply(join), None);
    let [(attempt, 0, 1)] = h.appends()[..] else { panic!() };
    h.appended(attempt, Ok(1));
    let [(attempt, 1, 1)] = h.appends()[..] else { panic!() };
    h.appended(attempt, Ok(2));
    assert!(matches!(h.reply(write), Some(Ok(_))));
    assert_eq!(h.reply(join), Some(Err(ErrorCode::NotCoordinator)));
    assert!(h.actions.iter().any(|action| matches!(action, Action::Released)));
    assert_eq!(h.shard.state(), ShardState::Idle);

    // Asked again, by a controller that does not know.
    h.actions.clear();
    h.shard.release(h.now);
    h.drain();
    assert!(matches!(h.actions[..], [Action::Released]));
}

#[test]
fn a_released_shard_that_nobody_else_gets_is_taken_back() {
    let mut h = Harness::serving();
    h.shard.release(h.now);
    h.drain();
    assert!(h.actions.iter().any(|action| matches!(action, Action::Released)));
    h.advance(4_999);
    let late = h.send(commit(1));
    assert_eq!(h.reply(late), Some(Err(ErrorCode::NotCoordinator)));
    h.actions.clear();
    h.advance(1);
    h.drain();
    assert!(matches!(h.actions[..], [Action::Open { .. }]), "from the beginning");
    assert_eq!(h.shard.state(), ShardState::Loading);

    // The next assignment ends a release too, and the end of it.
    h.shard.release(h.now);
    let again = Assignment {
        coordinator_epoch: CoordinatorEpoch(2),
        ..ASSIGNED
    };
    h.serve(again, Bytes::new(), 0);
    h.advance(6_000);
    assert_eq!(h.shard.state(), ShardState::Serving);
}
