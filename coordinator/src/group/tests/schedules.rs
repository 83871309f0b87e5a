//! Random clients and random time: whatever they do, every request is answered at most once and in the end exactly once,
//! and what a new owner reads from the log is what the old one had told anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use proptest::prelude::*;

use super::harness::*;
use crate::group::*;

/// What a client does next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Join {
        client: usize,
        protocols: usize,
        known: bool,
    },
    JoinAs {
        client: usize,
        member: usize,
        protocols: usize,
    },
    Sync {
        member: usize,
        stale: bool,
    },
    Heartbeat {
        member: usize,
    },
    Leave {
        member: usize,
    },
    LeaveStatic {
        client: usize,
    },
    Commit {
        member: usize,
        offset: i64,
    },
    CommitSimple {
        offset: i64,
    },
    Delete,
    Wait {
        seconds: u64,
    },
    Move,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_usize, 0..3_usize, any::<bool>())
            .prop_map(|(client, protocols, known)| Step::Join { client, protocols, known }),
        6 => (0..6_usize, 0..20_usize, 0..3_usize)
            .prop_map(|(client, member, protocols)| Step::JoinAs { client, member, protocols }),
        8 => (0..20_usize, prop::bool::weighted(0.1)).prop_map(|(member, stale)| Step::Sync { member, stale }),
        4 => (0..20_usize).prop_map(|member| Step::Heartbeat { member }),
        2 => (0..20_usize).prop_map(|member| Step::Leave { member }),
        1 => (0..6_usize).prop_map(|client| Step::LeaveStatic { client }),
        3 => (0..20_usize, 0..1000_i64).prop_map(|(member, offset)| Step::Commit { member, offset }),
        1 => (0..1000_i64).prop_map(|offset| Step::CommitSimple { offset }),
        1 => Just(Step::Delete),
        6 => (0..70_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Move),
    ];
    prop::collection::vec(step, 1..80)
}

#[derive(Default)]
struct Clients {
    /// Member ids that were ever told to anybody, with the newest generation.
    members: Vec<(Arc<str>, i32)>,
    joins: Vec<Token>,
    syncs: Vec<Token>,
    /// What each generation was told to be: leader and protocol.
    generations: BTreeMap<i32, (Arc<str>, Option<Arc<str>>)>,
}

/// Even clients are static.
fn request(client: usize, protocols: usize, known: bool) -> JoinGroup {
    let mut request = if client.is_multiple_of(2) {
        static_member("g", &format!("i{client}"))
    } else {
        member("g")
    };
    request.requires_known_member_id = known;
    request.protocols = match protocols {
        0 => vec![protocol("range", &subscription(&["t"]))],
        1 => vec![protocol("range", &subscription(&["t", "u"])), protocol("sticky", b"")],
        _ => vec![protocol("sticky", b"x"), protocol("range", b"y")],
    };
    request
}

impl Clients {
    fn collect(&mut self, h: &mut Harness) {
        for token in std::mem::take(&mut self.joins) {
            if h.is_parked(token) {
                self.joins.push(token);
                continue;
            }
            let reply = h.joined(token);
            if reply.error == ErrorCode::None {
                self.members.retain(|(id, _)| *id != reply.member_id);
                self.members.push((reply.member_id, reply.generation));
                let told = (reply.leader, reply.protocol_name);
                // A static leader that returns is the leader of the same generation under another id.
                let known = self.generations.entry(reply.generation).or_insert_with(|| told.clone());
                assert_eq!(known.1, told.1, "two protocols in generation {}", reply.generation);
            } else if reply.error == ErrorCode::MemberIdRequired {
                self.members.push((reply.member_id, -1));
            }
        }
        for token in std::mem::take(&mut self.syncs) {
            if h.is_parked(token) {
                self.syncs.push(token);
            } else {
                h.synced(token);
            }
        }
    }

    fn pick(&self, member: usize) -> Option<(Arc<str>, i32)> {
        (!self.members.is_empty()).then(|| self.members[member % self.members.len()].clone())
    }
}

fn step(h: &mut Harness, clients: &mut Clients, step: &Step) {
    match step {
        Step::Join {
            client,
            protocols,
            known,
        } => {
            clients.joins.push(h.join(request(*client, *protocols, *known)));
        }
        Step::JoinAs {
            client,
            member,
            protocols,
        } => {
            if let Some((id, _)) = clients.pick(*member) {
                let instance_id = id.starts_with('i').then(|| Arc::from(id.split('-').next().unwrap()));
                let mut request = rejoin(&request(*client, *protocols, true), &id);
                request.instance_id = instance_id;
                clients.joins.push(h.join(request));
            }
        }
        Step::Sync { member, stale } => {
            if let Some((id, generation)) = clients.pick(*member) {
                let assignments = clients
                    .members
                    .iter()
                    .map(|(id, _)| (Arc::clone(id), assignment(id)))
                    .collect();
                let generation = generation - i32::from(*stale);
                clients.syncs.push(h.sync(sync("g", &id, generation, assignments)));
            }
        }
        Step::Heartbeat { member } => {
            if let Some((id, generation)) = clients.pick(*member) {
                h.heartbeat("g", &id, generation);
            }
        }
        Step::Leave { member } => {
            if let Some((id, _)) = clients.pick(*member) {
                h.leave("g", &[(&id, None)]);
            }
        }
        Step::LeaveStatic { client } => {
            h.leave("g", &[("", Some(&format!("i{client}")))]);
        }
        Step::Commit { member, offset } => {
            if let Some((id, generation)) = clients.pick(*member) {
                h.commit(commit_as("g", "t", *offset, &id, generation));
            }
        }
        Step::CommitSimple { offset } => {
            h.commit(commit("g", "t", *offset));
        }
        Step::Delete => {
            h.delete_group("g");
        }
        Step::Wait { seconds } => h.advance(Duration::from_secs(*seconds)),
        Step::Move => {
            // What is parked dies with the owner; its shard answers it.
            clients.joins.clear();
            clients.syncs.clear();
            clients.generations.clear();
            h.reload();
        }
    }
    clients.collect(h);
    if !h.exists("g") {
        // A group that comes back counts anew.
        clients.generations.clear();
    }
}

/// A new owner knows everything that was told as settled.
fn check_log(h: &mut Harness) {
    let before = h.describe("g");
    let offset = h.committed("g", "t");
    let mut other = Harness::new();
    other.log.clone_from(&h.log);
    other.now = h.now;
    other.reload();
    assert_eq!(other.committed("g", "t"), offset);
    let after = other.describe("g");
    match before.state {
        "Stable" | "Empty" => assert_eq!(after, before),
        "Dead" => assert!(!after.exists),
        _ => {
            // The last settled generation: its members may have changed since, but nobody was made up.
            let ids: BTreeSet<_> = after.members.iter().map(|member| &member.member_id).collect();
            assert_eq!(ids.len(), after.members.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_the_log_tells_what_was_told(steps in steps()) {
        let mut h = Harness::new();
        let mut clients = Clients::default();
        for next in &steps {
            step(&mut h, &mut clients, next);
            check_log(&mut h);
        }
        // When everybody falls silent, everybody has been answered.
        h.advance(Duration::from_secs(3600));
        clients.collect(&mut h);
        prop_assert!(clients.joins.is_empty(), "joins are parked for ever");
        prop_assert!(clients.syncs.is_empty(), "syncs are parked for ever");
        prop_assert!(matches!(h.state("g"), "Empty" | "Dead"));
    }
}
