use highwater_proto::kafka::ErrorCode;

use super::harness::*;
use crate::group::*;

fn listed(h: &mut Harness, states: &[&str], types: &[&str]) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let token = h.send(Request::ListGroups(ListGroups {
        states: words(states),
        types: words(types),
    }));
    let Reply::ListGroups(groups) = h.reply(token) else {
        panic!()
    };
    let mut names: Vec<_> = groups.iter().map(|group| group.group_id.to_string()).collect();
    names.sort_unstable();
    names
}

#[test]
fn rule_86_groups_are_listed_by_state_and_type() {
    let mut h = Harness::new();
    h.stable("stable", &[member("stable")]);
    h.commit(commit("empty", "t", 1));
    assert_eq!(listed(&mut h, &[], &[]), ["empty", "stable"]);
    assert_eq!(listed(&mut h, &[" sTABLE "], &[]), ["stable"]);
    assert_eq!(listed(&mut h, &["Empty", "Dead"], &["Classic"]), ["empty"]);
    assert!(listed(&mut h, &["nonsense"], &[]).is_empty());
    assert!(listed(&mut h, &[], &["consumer"]).is_empty());
}

#[test]
fn rule_86_a_description_tells_protocols_only_of_stable_groups() {
    let mut h = Harness::new();
    let unknown = h.describe("none");
    assert_eq!(
        (unknown.exists, unknown.state, unknown.members.len()),
        (false, "Dead", 0)
    );
    let ids = h.stable("g", &[member("g")]);
    let group = h.describe("g");
    assert_eq!(
        (group.state, &*group.protocol, &*group.protocol_type),
        ("Stable", "range", "consumer")
    );
    let described = &group.members[0];
    assert_eq!(
        (&*described.client_id, &*described.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(described.assignment, assignment(&ids[0]));
    assert_eq!(&*described.metadata, subscription(&["t"]));

    h.join(member("g"));
    let group = h.describe("g");
    assert_eq!(
        (group.state, &*group.protocol, group.members.len()),
        ("PreparingRebalance", "", 2)
    );
    assert!(group.members.iter().all(|member| member.metadata.is_empty()));
    assert!(
        group
            .members
            .iter()
            .any(|member| member.assignment == assignment(&ids[0]))
    );
}

#[test]
fn rule_86_only_empty_groups_can_be_deleted_and_their_offsets_go_too() {
    let mut h = Harness::new();
    assert_eq!(h.delete_group("none"), ErrorCode::GroupIdNotFound);
    let ids = h.stable("g", &[member("g")]);
    h.commit(commit_as("g", "t", 5, &ids[0], 1));
    assert_eq!(h.delete_group("g"), ErrorCode::NonEmptyGroup);
    h.leave("g", &[(&ids[0], None)]);
    assert_eq!(h.delete_group("g"), ErrorCode::None);
    for _ in 0..2 {
        assert!(!h.exists("g"));
        assert_eq!(h.committed("g", "t"), -1);
        h.reload();
    }
}
