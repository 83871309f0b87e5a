use std::time::Duration;

use highwater_proto::metadata::Partition;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use proptest::prelude::*;

use super::*;

const ME: NodeId = NodeId(0);
const B1: NodeId = NodeId(1);
const B2: NodeId = NodeId(2);
const LAG: Duration = Duration::from_secs(30);

fn config(min: usize) -> ReplicaConfig {
    ReplicaConfig {
        min_insync_replicas: min,
        replica_lag_time_max: LAG,
    }
}

fn empty_log() -> LogEnds {
    LogEnds {
        start: Offset(0),
        end: Offset(0),
        flushed: Offset(0),
    }
}

fn partition(leader: NodeId, leader_epoch: i32, epoch: i64, isr: &[NodeId]) -> Partition {
    Partition {
        replicas: vec![ME, B1, B2],
        isr: isr.to_vec(),
        leader: Some(leader),
        leader_epoch: LeaderEpoch(leader_epoch),
        epoch: PartitionEpoch(epoch),
        ..Partition::default()
    }
}

/// Broker n is registered with epoch 10 + n.
fn all_live(node: NodeId) -> Option<BrokerView> {
    Some(BrokerView {
        epoch: BrokerEpoch(10 + i64::from(node.get())),
        eligible: true,
    })
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fetch(node: NodeId, offset: i64, now: Duration) -> FollowerFetch {
    FollowerFetch {
        node,
        broker_epoch: BrokerEpoch(10 + i64::from(node.get())),
        offset: Offset(offset),
        log_start: Offset(0),
        now,
    }
}

fn leader(min: usize, isr: &[NodeId]) -> Replica<u32> {
    let mut replica = Replica::new(ME, config(min), empty_log(), Offset(0));
    let _ = replica.assign(&partition(ME, 1, 1, isr), all_live, at(0));
    replica
}

fn append(replica: &mut Replica<u32>, end: i64, ack: u32) {
    let flushed = replica.log().flushed;
    let _ = replica.appended(Offset(end), flushed);
    replica.wait(Offset(end), ack).unwrap();
}

fn results(effects: &Effects<u32>) -> Vec<(u32, Result<(), AckError>)> {
    effects.completed.iter().map(|it| (it.ack, it.result)).collect()
}

#[test]
fn the_only_replica_acknowledges_when_its_own_flush_is_done() {
    let mut replica = Replica::new(ME, config(1), empty_log(), Offset(0));
    let alone = Partition {
        replicas: vec![ME],
        ..partition(ME, 0, 1, &[ME])
    };
    let _ = replica.assign(&alone, all_live, at(0));
    append(&mut replica, 3, 1);
    append(&mut replica, 5, 2);
    assert_eq!(
        replica.high_watermark(),
        Offset(0),
        "the page cache is not a disk (known trace R7)"
    );
    let effects = replica.flushed(Offset(4));
    assert_eq!(results(&effects), [(1, Ok(()))]);
    assert_eq!(replica.high_watermark(), Offset(4));
    assert_eq!(results(&replica.flushed(Offset(5))), [(2, Ok(()))]);
}

#[test]
fn with_write_caching_the_flushed_end_is_the_log_end() {
    let mut replica = Replica::<u32>::new(ME, config(2), empty_log(), Offset(0));
    let alone = Partition {
        replicas: vec![ME],
        ..partition(ME, 0, 1, &[ME])
    };
    let _ = replica.assign(&alone, all_live, at(0));
    assert!(
        replica.check_append(true).is_ok(),
        "min ISR is capped at the replication factor"
    );
    assert!(replica.appended(Offset(7), Offset(7)).high_watermark_moved);
    assert_eq!(replica.wait(Offset(7), 1), Err(Completed { ack: 1, result: Ok(()) }));
}

#[test]
fn without_write_caching_any_more_the_real_flushed_end_counts_and_nothing_goes_back() {
    let mut replica = leader(1, &[ME]);
    let _ = replica.appended(Offset(7), Offset(7));
    assert!(!replica.flushed_end_is(Offset(3)).high_watermark_moved);
    assert_eq!(
        (replica.high_watermark(), replica.log().flushed),
        (Offset(7), Offset(3))
    );
    let _ = replica.appended(Offset(9), Offset(3));
    assert_eq!(replica.high_watermark(), Offset(7));
    assert!(replica.flushed(Offset(9)).high_watermark_moved);
}

#[test]
fn the_high_watermark_is_the_least_flushed_end_of_the_isr() {
    let mut replica = leader(2, &[ME, B1]);
    append(&mut replica, 10, 1);
    let _ = replica.flushed(Offset(10));
    assert_eq!(replica.high_watermark(), Offset(0));
    let effects = replica.follower_fetched(fetch(B1, 6, at(1))).unwrap();
    assert!(effects.high_watermark_moved && effects.completed.is_empty());
    assert_eq!(replica.high_watermark(), Offset(6));
    let effects = replica.follower_fetched(fetch(B1, 10, at(1))).unwrap();
    assert_eq!(results(&effects), [(1, Ok(()))]);
}

#[test]
fn a_duplicate_waits_for_the_offset_of_its_original() {
    let mut replica = leader(1, &[ME]);
    append(&mut replica, 4, 1);
    append(&mut replica, 8, 2);
    replica.wait(Offset(4), 3).unwrap();
    assert_eq!(results(&replica.flushed(Offset(5))), [(1, Ok(())), (3, Ok(()))]);
}

#[test]
fn a_small_isr_refuses_acks_all_and_freezes_the_high_watermark() {
    let mut replica = leader(2, &[ME]);
    assert_eq!(replica.check_append(true), Err(AckError::NotEnoughReplicas));
    assert_eq!(replica.check_append(false), Ok(()));
    let _ = replica.appended(Offset(5), Offset(5));
    assert_eq!(replica.high_watermark(), Offset(0));
    let _ = replica.assign(&partition(ME, 1, 2, &[ME, B1]), all_live, at(1));
    let _ = replica.follower_fetched(fetch(B1, 5, at(1))).unwrap();
    assert_eq!(replica.high_watermark(), Offset(5));
}

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
fn losing_leadership_answers_everything_that_waits() {
    let mut replica = leader(1, &[ME, B1]);
    append(&mut replica, 5, 1);
    let effects = replica.assign(&partition(B1, 2, 2, &[B1]), all_live, at(1));
    assert_eq!(results(&effects), [(1, Err(AckError::NotLeader))]);
    assert_eq!(replica.check_leadership(None), Err(LeadershipError::NotLeader));
    assert_eq!(
        replica.check_leadership(Some(LeaderEpoch(1))),
        Err(LeadershipError::Fenced)
    );
    assert_eq!(
        replica.check_leadership(Some(LeaderEpoch(3))),
        Err(LeadershipError::Unknown)
    );
    assert_eq!(replica.wait(Offset(0), 2).unwrap_err().result, Err(AckError::NotLeader));
    let back = replica.assign(&partition(ME, 1, 1, &[ME]), all_live, at(1));
    assert!(
        back.completed.is_empty() && !replica.is_leader(),
        "an older image changes nothing"
    );
}

#[test]
fn a_higher_epoch_resets_followers_even_under_the_same_leader() {
    let mut replica = leader(1, &[ME, B1]);
    append(&mut replica, 5, 1);
    let _ = replica.flushed(Offset(5));
    let effects = replica.assign(&partition(ME, 2, 2, &[ME, B1]), all_live, at(1));
    assert_eq!(results(&effects), [(1, Err(AckError::NotLeader))]);
    assert_eq!(
        replica.high_watermark(),
        Offset(0),
        "B1 has not said in this epoch what it holds"
    );
}

#[test]
fn after_a_restart_the_high_watermark_is_the_checkpoint_within_the_log() {
    let log = LogEnds {
        start: Offset(4),
        end: Offset(9),
        flushed: Offset(0),
    };
    assert_eq!(
        Replica::<u32>::new(ME, config(1), log, Offset(7)).high_watermark(),
        Offset(7)
    );
    assert_eq!(
        Replica::<u32>::new(ME, config(1), log, Offset(2)).high_watermark(),
        Offset(4)
    );
    assert_eq!(
        Replica::<u32>::new(ME, config(1), log, Offset(99)).high_watermark(),
        Offset(9)
    );
}

#[test]
fn a_deleted_topic_answers_everything_that_waits() {
    let mut replica = leader(1, &[ME]);
    append(&mut replica, 5, 1);
    assert_eq!(results(&replica.stop(AckError::Deleted)), [(1, Err(AckError::Deleted))]);
    assert!(!replica.is_leader());
}

/// Steps of a random history at one leader.
#[derive(Clone, Debug)]
enum Step {
    Append(i64),
    Flush(i64),
    Fetch(u8, i64),
    Tick,
    Answer(bool),
    LogStart(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_i64..5).prop_map(Step::Append),
        (0_i64..40).prop_map(Step::Flush),
        (1_u8..3, 0_i64..40).prop_map(|(node, offset)| Step::Fetch(node, offset)),
        Just(Step::Tick),
        any::<bool>().prop_map(Step::Answer),
        (0_i64..10).prop_map(Step::LogStart),
    ]
}

proptest! {
    /// The high watermark never goes back, never passes the log end, and what is acknowledged is flushed here and was
    /// fetched past by every other member of the maximal ISR.
    #[test]
    fn acknowledged_is_on_every_member_of_the_maximal_isr(steps in proptest::collection::vec(step(), 1..80)) {
        let mut replica = leader(1, &[ME, B1]);
        let mut flushed_by = [0_i64; 3];
        let mut epoch = 1;
        for (index, step) in steps.into_iter().enumerate() {
            let now = at(index as u64);
            let before = replica.high_watermark();
            let end = replica.log().end.get();
            let effects = match step {
                Step::Append(count) => {
                    let effects = replica.appended(Offset(end + count), replica.log().flushed);
                    let _ = replica.wait(Offset(end + count), (end + count) as u32);
                    effects
                }
                Step::Flush(to) => {
                    flushed_by[0] = flushed_by[0].max(to.min(end));
                    replica.flushed(Offset(to))
                }
                Step::Fetch(node, offset) => {
                    let offset = offset.clamp(flushed_by[usize::from(node)], end);
                    flushed_by[usize::from(node)] = offset;
                    replica.follower_fetched(fetch(NodeId(i32::from(node)), offset, now)).unwrap()
                }
                Step::Tick => replica.tick(now + LAG),
                Step::Answer(yes) => match replica.pending_proposal().cloned() {
                    None => Effects::default(),
                    Some(proposal) if yes => {
                        epoch += 1;
                        let isr = proposal.isr.iter().map(|it| it.broker).collect();
                        let answer = IsrAnswer::Committed { epoch: PartitionEpoch(epoch), isr };
                        replica.isr_answered(proposal.base, answer)
                    }
                    Some(proposal) => replica.isr_answered(proposal.base, IsrAnswer::Refused),
                },
                Step::LogStart(to) => replica.log_start_moved(Offset(to.min(replica.high_watermark().get()))),
            };
            let high_watermark = replica.high_watermark();
            prop_assert!(high_watermark >= before && high_watermark <= replica.log().end);
            prop_assert_eq!(high_watermark != before, effects.high_watermark_moved);
            for completed in &effects.completed {
                prop_assert_eq!(completed.result, Ok(()));
                prop_assert!(i64::from(completed.ack) <= flushed_by[0]);
                for member in replica.isr() {
                    let held = flushed_by[usize::try_from(member.get()).unwrap()];
                    prop_assert!(i64::from(completed.ack) <= held || *member == ME);
                }
            }
        }
    }
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
fn a_followers_high_watermark_follows_its_leaders_as_far_as_its_log_goes_and_never_back() {
    let mut replica = Replica::<u32>::new(ME, config(1), empty_log(), Offset(0));
    let _ = replica.assign(&partition(B1, 1, 1, &[ME, B1]), all_live, at(0));
    let _ = replica.appended(Offset(5), Offset(0));
    assert!(replica.leader_high_watermark(Offset(9)).high_watermark_moved);
    assert_eq!(replica.high_watermark(), Offset(5));
    assert!(
        !replica.leader_high_watermark(Offset(2)).high_watermark_moved,
        "a new leader may know less"
    );
    assert_eq!(replica.high_watermark(), Offset(5));
    replica.truncated(LogEnds {
        start: Offset(0),
        end: Offset(3),
        flushed: Offset(3),
    });
    assert_eq!(replica.high_watermark(), Offset(3));
}

#[test]
fn readers_go_to_the_in_sync_follower_that_has_most() {
    let mut replica = leader(1, &[ME, B1, B2]);
    let _ = replica.appended(Offset(9), Offset(9));
    let _ = replica.follower_fetched(fetch(B1, 4, at(1))).unwrap();
    let late = FollowerFetch {
        log_start: Offset(3),
        ..fetch(B2, 6, at(1))
    };
    let _ = replica.follower_fetched(late).unwrap();
    let preferred = |offset| replica.preferred_read_replica(Offset(offset), |_| true);
    assert_eq!(preferred(4), Some(B2));
    assert_eq!(preferred(2), Some(B1), "the other one has deleted it");
    assert_eq!(preferred(7), None, "nobody has it yet");
    assert_eq!(replica.preferred_read_replica(Offset(4), |node| node == B1), Some(B1));
    assert_eq!(replica.low_watermark(), Some(Offset(0)));
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
