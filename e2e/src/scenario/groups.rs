//! The cases of groups.

use super::{PARTITIONS, Run, as_sent, keyed, sorted};
use crate::client::{Assignor, Member, Membership, Pair, Seen, Told, wait_until};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// The least that brokers allow by default.
const SESSION: Duration = Duration::from_secs(6);
/// Long enough for a client to be started anew.
const LONG_SESSION: Duration = Duration::from_secs(30);
/// How far from the end of a session a member may be given up: its last heartbeat may be older than a heartbeat interval
/// where the machine is busy.
const ROOM: Duration = Duration::from_secs(2);

/// Three members share the partitions; one is killed without a goodbye: its partitions move after the session timeout,
/// no sooner and not much later, and nothing is lost. A member that starts when all have left goes on at the last committed offsets.
pub(super) fn group_survives_a_killed_member(run: &mut Run<'_>) {
    let topic = run.topic("group");
    let membership = Membership {
        max_poll_records: 10,
        auto_commit: !run.client.commits_manually(),
        ..Membership::new(&topic, &format!("three-{}", run.id), SESSION)
    };
    let before = keyed(0, 300, 40);
    run.produce(&topic, &before);
    let mut members: Vec<Member> = (0..3).map(|_| run.client.member(&membership)).collect();
    wait_until("three members share all partitions", Duration::from_secs(40), || {
        shared(&members)
    });
    wait_until("the group has read all there is", Duration::from_secs(30), || {
        read_by(&members).is_superset(&values(&before))
    });

    // The one with the most partitions dies; its heartbeat was at most a second ago.
    members.sort_by_key(|m| m.told(|t| t.owned.len()));
    let mut victim = members.pop().expect("three members");
    victim.kill9();
    let killed = Instant::now();
    let after = keyed(300, 300, 40);
    run.produce(&topic, &after);
    wait_until("the broker gives the killed member up", Duration::from_secs(40), || {
        run.raw.members(&membership.group).is_ok_and(|n| n == 2)
    });
    let given_up = killed.elapsed();
    assert!(
        given_up > SESSION - ROOM && given_up < SESSION + ROOM,
        "given up after {given_up:?}, with a session of {SESSION:?}"
    );
    wait_until("two members share all partitions", Duration::from_secs(40), || {
        shared(&members)
    });
    let sent: BTreeSet<String> = values(&before).union(&values(&after)).cloned().collect();
    members.push(victim);
    wait_until("nothing is lost", Duration::from_secs(30), || {
        read_by(&members).is_superset(&sent)
    });
    assert_eq!(read_by(&members), sent, "and nothing is made up");
    for member in &members {
        member.told(|told| check_member(told, membership.auto_commit));
    }

    let ends = run.ends(&topic);
    wait_until("all is committed", Duration::from_secs(20), || {
        run.committed(&membership.group, &topic) == ends
    });
    members.pop();
    for member in &mut members {
        member.close();
    }
    assert_eq!(
        run.committed(&membership.group, &topic),
        ends,
        "leaving keeps what was committed"
    );
    resumes(run, &membership, keyed(600, 60, 40));
}

pub(super) fn auto_commit_and_restart(run: &mut Run<'_>) {
    let topic = run.topic("auto");
    let membership = Membership::new(&topic, &format!("auto-{}", run.id), SESSION);
    let sent = keyed(0, 200, 20);
    run.produce(&topic, &sent);
    let mut member = run.client.member(&membership);
    wait_until("the member reads all", Duration::from_secs(30), || {
        member.told(|t| t.seen.len() == sent.len())
    });
    let ends = run.ends(&topic);
    wait_until("it is committed without a word", Duration::from_secs(15), || {
        run.committed(&membership.group, &topic) == ends
    });
    member.close();
    resumes(run, &membership, keyed(200, 60, 20));
}

/// A new group with `auto.offset.reset=latest` reads what comes after it has joined, and nothing else.
pub(super) fn new_group_from_latest(run: &mut Run<'_>) {
    let topic = run.topic("newest");
    let old = keyed(0, 100, 10);
    run.produce(&topic, &old);
    let mut member = run.client.member(&Membership {
        reset: "latest",
        ..Membership::new(&topic, &format!("newest-{}", run.id), SESSION)
    });
    // Only a record that comes tells that the member has looked where a partition ends.
    let mut probes = BTreeSet::new();
    let reads_all = |member: &Member| {
        let seen = |told: &Told| told.seen.iter().map(|(_, s)| s.partition).collect::<BTreeSet<_>>();
        member.told(seen).len() == PARTITIONS as usize
    };
    wait_until("the member reads from every partition", Duration::from_secs(40), || {
        for partition in 0..PARTITIONS {
            let probe = format!("probe-{:06}", probes.len());
            run.raw.produce(&topic, partition, &probe).expect("an answer");
            probes.insert(probe);
        }
        std::thread::sleep(Duration::from_millis(200));
        reads_all(&member)
    });
    let new = keyed(100, 50, 10);
    run.produce(&topic, &new);
    let members = [member];
    wait_until("it reads what is new", Duration::from_secs(20), || {
        read_by(&members).is_superset(&values(&new))
    });
    let read = read_by(&members);
    assert!(read.is_disjoint(&values(&old)), "it reads what was there before it");
    let known: BTreeSet<String> = values(&new).union(&probes).cloned().collect();
    assert!(read.is_subset(&known), "and nothing is made up");
    [member] = members;
    member.told(|told| check_member(told, true));
    member.close();
}

/// A static member that comes back within its session gets its partitions again. The other notices nothing: there is no
/// rebalance.
pub(super) fn static_member_returns(run: &mut Run<'_>) {
    let topic = run.topic("static");
    let membership = Membership::new(&topic, &format!("static-{}", run.id), LONG_SESSION);
    let named = |instance: &'static str| Membership {
        instance: Some(instance),
        // Under this one each rebalance takes all partitions away and gives them anew.
        assignor: Some(Assignor::Range),
        ..membership.clone()
    };
    let mut sent = keyed(0, 100, 40);
    run.produce(&topic, &sent);
    let mut members = vec![run.client.member(&named("stays")), run.client.member(&named("returns"))];
    wait_until("two members share all partitions", Duration::from_secs(40), || {
        shared(&members)
    });
    let (owned, noticed) = (members[1].told(|t| t.owned.clone()), members[0].told(rebalances));
    let mut left = Vec::new();
    for closed in [true, false] {
        let mut gone = members.pop().expect("two members");
        if closed {
            gone.close();
        } else {
            gone.kill9();
        }
        members.push(run.client.member(&named("returns")));
        wait_until("it gets its partitions again", Duration::from_secs(20), || {
            members[1].told(|t| t.owned == owned)
        });
        let new = keyed(sent.len(), 100, 40);
        run.produce(&topic, &new);
        sent.extend(new);
        left.push(gone);
        wait_until("all is read", Duration::from_secs(20), || {
            read_by(members.iter().chain(&left)) == values(&sent)
        });
    }
    assert_eq!(run.raw.members(&membership.group).expect("an answer"), 2);
    assert_eq!(
        members[0].told(rebalances),
        noticed,
        "the other member notices a rebalance"
    );
}

/// Under a cooperative assignor a member gives up the partitions that go to another, and keeps the rest.
pub(super) fn cooperative_members_keep_the_rest(run: &mut Run<'_>) {
    let topic = run.topic("cooperative");
    let membership = Membership {
        assignor: Some(Assignor::Cooperative),
        ..Membership::new(&topic, &format!("cooperative-{}", run.id), SESSION)
    };
    let mut sent = keyed(0, 100, 40);
    run.produce(&topic, &sent);
    let mut members = vec![run.client.member(&membership)];
    wait_until("the first member owns all partitions", Duration::from_secs(40), || {
        shared(&members)
    });
    members.push(run.client.member(&membership));
    wait_until("two members share all partitions", Duration::from_secs(40), || {
        shared(&members)
    });
    let new = keyed(sent.len(), 100, 40);
    run.produce(&topic, &new);
    sent.extend(new);
    wait_until("all is read", Duration::from_secs(20), || {
        read_by(&members) == values(&sent)
    });
    let (kept, revoked) = members[0].told(|t| (t.owned.clone(), t.revoked.clone()));
    assert_eq!(revoked, members[1].told(|t| t.owned.clone()), "what moves is given up");
    assert!(
        kept.is_disjoint(&revoked),
        "{kept:?} are kept, and {revoked:?} were taken away"
    );
    for member in &mut members {
        member.close();
    }
}

/// A fresh member reads the records produced after the last commit, and no other.
fn resumes(run: &mut Run<'_>, membership: &Membership, new: Vec<Pair>) {
    run.produce(&membership.topic, &new);
    let mut member = run.client.member(membership);
    wait_until("the new member reads on", Duration::from_secs(30), || {
        member.told(|t| t.seen.len() >= new.len())
    });
    let seen: Vec<Seen> = member.told(|t| t.seen.iter().map(|(_, s)| s.clone()).collect());
    assert_eq!(as_sent(&seen), sorted(&new), "it goes on at the last committed offset");
    member.close();
}

/// Whether all members own something, together all partitions, none twice.
fn shared(members: &[Member]) -> bool {
    let owned: Vec<BTreeSet<i32>> = members.iter().map(|m| m.told(|t| t.owned.clone())).collect();
    let total: usize = owned.iter().map(BTreeSet::len).sum();
    let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
    owned.iter().all(|o| !o.is_empty()) && total == all.len() && all.len() == PARTITIONS as usize
}

/// How often a member was told of partitions.
fn rebalances(told: &Told) -> (usize, BTreeSet<i32>) {
    (told.assignments, told.revoked.clone())
}

fn read_by<'a>(members: impl IntoIterator<Item = &'a Member>) -> BTreeSet<String> {
    members
        .into_iter()
        .flat_map(|m| m.told(|t| t.seen.iter().map(|(_, s)| s.value.clone()).collect::<Vec<_>>()))
        .collect()
}

fn values(records: &[Pair]) -> BTreeSet<String> {
    records.iter().map(|r| r.1.clone()).collect()
}

/// Between two assignments a member reads each partition in order and without a gap.
fn check_member(told: &Told, auto_commit: bool) {
    let mut last: HashMap<(usize, i32), i64> = HashMap::new();
    for (assignment, s) in &told.seen {
        if let Some(before) = last.insert((*assignment, s.partition), s.offset) {
            assert_eq!(s.offset, before + 1, "partition {} is read in order", s.partition);
        }
    }
    if !auto_commit {
        assert!(
            told.largest_poll <= 10,
            "max.poll.records=10, and a poll returned {}",
            told.largest_poll
        );
    }
}
