//! Followers that join and leave the ISR.

use super::*;

#[test]
fn a_proposed_member_counts_until_a_definite_answer() {
    let mut replica = leader(1, &[ME]);
    let _ = replica.appended(Offset(5), Offset(5));
    let proposal = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap().proposal.unwrap();
    assert_eq!(
        proposal.isr[1],
        IsrMember {
            broker: B1,
            epoch: BrokerEpoch(11)
        }
    );
    append(&mut replica, 9, 1);
    let _ = replica.flushed(Offset(9));
    assert_eq!(
        replica.high_watermark(),
        Offset(5),
        "a lost answer may have been a yes (known trace R5)"
    );
    assert_eq!(replica.pending_proposal(), Some(&proposal));
    let outdated = replica.isr_answered(proposal.base, IsrAnswer::Outdated);
    assert!(!outdated.high_watermark_moved);
    let refused = replica.isr_answered(proposal.base, IsrAnswer::Refused);
    assert_eq!(results(&refused), [(1, Ok(()))]);
}

#[test]
fn a_newer_image_ends_a_proposal() {
    let mut replica = leader(1, &[ME]);
    let _ = replica.appended(Offset(5), Offset(5));
    let _ = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap().proposal.unwrap();
    let _ = replica.appended(Offset(9), Offset(9));
    let effects = replica.assign(&partition(ME, 1, 2, &[ME]), all_live, at(1));
    assert!(effects.high_watermark_moved);
    assert!(replica.pending_proposal().is_none());
}

#[test]
fn a_follower_joins_only_at_the_high_watermark_and_the_epoch_start() {
    let log = LogEnds {
        start: Offset(0),
        end: Offset(8),
        flushed: Offset(8),
    };
    let mut replica = Replica::<u32>::new(ME, config(1), log, Offset(3));
    let _ = replica.assign(&partition(ME, 4, 9, &[ME, B1]), all_live, at(0));
    assert!(!replica.knows_latest(), "records of older epochs are not committed yet");
    let early = replica.follower_fetched(fetch(B2, 5, at(1))).unwrap();
    assert_eq!(early.proposal, None, "below the epoch start 8");
    assert!(
        replica
            .follower_fetched(fetch(B2, 8, at(1)))
            .unwrap()
            .proposal
            .is_some()
    );
    let _ = replica.follower_fetched(fetch(B1, 8, at(1))).unwrap();
    assert!(replica.knows_latest());
}

#[test]
fn a_follower_of_another_registration_is_refused_and_forgotten() {
    let mut replica = leader(1, &[ME, B1]);
    let _ = replica.appended(Offset(5), Offset(5));
    let _ = replica.follower_fetched(fetch(B1, 3, at(1))).unwrap();
    assert_eq!(replica.high_watermark(), Offset(3));
    let stale = FollowerFetch {
        broker_epoch: BrokerEpoch(7),
        ..fetch(B1, 5, at(1))
    };
    assert_eq!(replica.follower_fetched(stale), Err(LeadershipError::NotLeader));
    assert_eq!(replica.high_watermark(), Offset(3));
    let restarted = |_| {
        Some(BrokerView {
            epoch: BrokerEpoch(99),
            eligible: true,
        })
    };
    let _ = replica.assign(&partition(ME, 1, 1, &[ME, B1]), restarted, at(2));
    assert_eq!(
        replica.follower_fetched(fetch(B1, 5, at(2))),
        Err(LeadershipError::NotLeader)
    );
    let again = FollowerFetch {
        broker_epoch: BrokerEpoch(99),
        ..fetch(B1, 5, at(2))
    };
    assert!(replica.follower_fetched(again).unwrap().high_watermark_moved);
}

#[test]
fn a_fenced_broker_does_not_join() {
    let mut replica = leader(1, &[ME]);
    let fenced = |_| {
        Some(BrokerView {
            epoch: BrokerEpoch(11),
            eligible: false,
        })
    };
    let _ = replica.assign(&partition(ME, 1, 1, &[ME]), fenced, at(1));
    assert_eq!(replica.follower_fetched(fetch(B1, 0, at(1))).unwrap().proposal, None);
}

#[test]
fn a_lagging_follower_leaves_and_counts_until_that_is_committed() {
    let mut replica = leader(1, &[ME, B1]);
    let _ = replica.follower_fetched(fetch(B1, 0, at(1))).unwrap();
    assert_eq!(
        replica.tick(at(100)).proposal,
        None,
        "an idle follower that has everything never lags"
    );
    append(&mut replica, 5, 1);
    let _ = replica.flushed(Offset(5));
    assert_eq!(replica.tick(at(130)).proposal, None);
    let proposal = replica.tick(at(131)).proposal.unwrap();
    assert_eq!(proposal.isr.iter().map(|it| it.broker).collect::<Vec<_>>(), [ME]);
    assert_eq!(
        replica.high_watermark(),
        Offset(0),
        "a departure counts once it is committed"
    );
    assert_eq!(replica.tick(at(132)).proposal, None, "one proposal at a time");
    let committed = IsrAnswer::Committed {
        epoch: PartitionEpoch(2),
        isr: vec![ME],
    };
    assert_eq!(results(&replica.isr_answered(proposal.base, committed)), [(1, Ok(()))]);
}

#[test]
fn a_follower_is_caught_up_as_of_the_fetch_whose_end_it_reached() {
    let mut replica = leader(1, &[ME, B1]);
    let _ = replica.appended(Offset(5), Offset(5));
    let _ = replica.follower_fetched(fetch(B1, 0, at(10))).unwrap();
    let _ = replica.appended(Offset(9), Offset(9));
    // Under constant load it never reaches the end, but the end it saw last time: caught up at 10.
    let _ = replica.follower_fetched(fetch(B1, 5, at(20))).unwrap();
    assert_eq!(replica.tick(at(40)).proposal, None);
    assert!(replica.tick(at(41)).proposal.is_some());
}

#[test]
fn a_member_that_lost_what_it_had_acknowledged_is_put_out_at_once() {
    let mut replica = leader(2, &[ME, B1, B2]);
    let _ = replica.appended(Offset(5), Offset(5));
    let _ = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap();
    let _ = replica.follower_fetched(fetch(B2, 5, at(1))).unwrap();
    assert_eq!(replica.high_watermark(), Offset(5));
    // Its log was damaged and begins anew.
    let proposal = replica.follower_fetched(fetch(B2, 0, at(2))).unwrap().proposal.unwrap();
    let members: Vec<NodeId> = proposal.isr.iter().map(|member| member.broker).collect();
    assert_eq!(members, [ME, B1]);
    assert_eq!(replica.high_watermark(), Offset(5), "and never back");
}

#[test]
fn a_replica_that_went_offline_joins_by_what_it_fetched_afterwards() {
    let mut replica = leader(1, &[ME, B1]);
    let _ = replica.appended(Offset(5), Offset(5));
    let _ = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap();
    let offline = Partition {
        offline_replicas: vec![B1],
        ..partition(ME, 1, 2, &[ME])
    };
    let _ = replica.assign(&offline, all_live, at(2));
    assert_eq!(replica.preferred_read_replica(Offset(1), |_| true), None);
    let _ = replica.appended(Offset(6), Offset(6));
    assert_eq!(replica.high_watermark(), Offset(6));
    assert!(
        replica
            .follower_fetched(fetch(B1, 0, at(3)))
            .unwrap()
            .proposal
            .is_none()
    );
    assert!(
        replica
            .follower_fetched(fetch(B1, 6, at(4)))
            .unwrap()
            .proposal
            .is_some()
    );
}

#[test]
fn a_follower_that_has_everything_joins_once_nothing_is_in_the_way_any_more() {
    let mut replica = leader(3, &[ME]);
    let _ = replica.appended(Offset(5), Offset(5));
    let first = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap().proposal.unwrap();
    // Another proposal is under way.
    assert!(
        replica
            .follower_fetched(fetch(B2, 5, at(1)))
            .unwrap()
            .proposal
            .is_none()
    );
    let committed = IsrAnswer::Committed {
        epoch: PartitionEpoch(2),
        isr: vec![ME, B1],
    };
    let next = replica.isr_answered(first.base, committed).proposal.unwrap();
    assert_eq!(next.isr.iter().map(|it| it.broker).collect::<Vec<_>>(), [ME, B1, B2]);
    let committed = IsrAnswer::Committed {
        epoch: PartitionEpoch(3),
        isr: vec![ME, B1, B2],
    };
    assert!(replica.isr_answered(next.base, committed).proposal.is_none());
    assert_eq!(replica.high_watermark(), Offset(5));

    // One that falls silent leaves, and does not come back by itself although the high watermark is frozen where it was.
    let _ = replica.appended(Offset(6), Offset(6));
    let _ = replica.follower_fetched(fetch(B1, 6, at(50))).unwrap();
    let shrink = replica.tick(at(50)).proposal.unwrap();
    let committed = IsrAnswer::Committed {
        epoch: PartitionEpoch(4),
        isr: vec![ME, B1],
    };
    assert!(replica.isr_answered(shrink.base, committed).proposal.is_none());
    assert!(replica.tick(at(60)).proposal.is_none());
    assert_eq!(replica.high_watermark(), Offset(5), "frozen below min ISR");
}

#[test]
fn the_lag_of_an_idle_follower_begins_when_there_is_more() {
    let mut replica = leader(1, &[ME, B1]);
    let _ = replica.appended(Offset(5), Offset(5));
    let _ = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap();
    for second in [15, 30, 45, 60, 75, 90] {
        assert!(replica.tick(at(second)).proposal.is_none());
    }
    let _ = replica.appended(Offset(6), Offset(6));
    assert!(replica.tick(at(105)).proposal.is_none(), "it may be about to fetch");
    assert!(replica.tick(at(121)).proposal.is_some());
}
