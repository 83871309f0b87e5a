//! Whatever happens, in any order.

use super::*;

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
