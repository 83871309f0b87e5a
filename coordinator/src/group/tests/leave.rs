use highwater_proto::kafka::ErrorCode;

use super::harness::*;
use crate::group::*;

#[test]
fn rule_82_a_batch_of_leaves_has_an_outcome_for_each() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g"), static_member("g", "i"), static_member("g", "j")]);
    let pending = h.join_now(JoinGroup {
        requires_known_member_id: true,
        ..member("g")
    });
    let j = ids.iter().find(|id| id.starts_with("j-")).unwrap();
    let outcomes = h.leave(
        "g",
        &[
            ("", Some("i")),
            ("nobody", None),
            ("", None),
            (&pending.member_id, None),
            (j, Some("i")),
            (j, Some("j")),
        ],
    );
    use ErrorCode::{None as Ok, UnknownMemberId as Unknown};
    assert_eq!(outcomes, [Ok, Unknown, Unknown, Ok, Unknown, Ok]);
    assert_eq!(h.describe("g").members.len(), 1);
    assert_eq!(h.state("g"), "PreparingRebalance");
}

#[test]
fn rule_82_a_wrong_member_id_of_a_static_member_is_fenced() {
    let mut h = Harness::new();
    h.stable("g", &[static_member("g", "i")]);
    assert_eq!(h.leave("g", &[("other", Some("i"))]), [ErrorCode::FencedInstanceId]);
    assert_eq!(h.state("g"), "Stable");
}

#[test]
fn rule_82_the_parked_join_of_a_leaver_is_answered() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g"), member("g")]);
    let parked = h.join(rejoin(&member("g"), &ids[0]));
    h.leave("g", &[(&ids[0], None)]);
    let reply = h.joined(parked);
    assert_eq!((reply.error, &*reply.member_id), (ErrorCode::UnknownMemberId, ""));
}

#[test]
fn rule_141_a_group_that_turns_empty_is_written_and_keeps_its_type() {
    let mut h = Harness::new();
    let ids = h.stable("g", &[member("g")]);
    let written = h.log.len();
    h.leave("g", &[(&ids[0], None)]);
    assert_eq!(h.log.len(), written + 1);
    let group = h.describe("g");
    assert_eq!(
        (group.state, &*group.protocol_type, group.members.len()),
        ("Empty", "consumer", 0)
    );
    h.reload();
    assert_eq!(h.describe("g"), group);
}

#[test]
fn rule_75_leaving_an_unknown_group_is_an_error_of_each_member() {
    let mut h = Harness::new();
    assert_eq!(
        h.leave("none", &[("a", None), ("b", None)]),
        [ErrorCode::UnknownMemberId; 2]
    );
    let token = h.send(Request::LeaveGroup(LeaveGroup {
        group_id: "".into(),
        members: Vec::new(),
    }));
    let refused = LeaveGroupReply {
        error: ErrorCode::InvalidGroupId,
        members: Vec::new(),
    };
    assert_eq!(h.reply(token), Reply::LeaveGroup(refused));
}
