//! The leader's side: what it does with the calls of owners, and how another replica takes its place without its knowing.

use bytes::BytesMut;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::Batches;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset};

use super::model::{Answer, Call, Leader, Mutant};
use super::{REPLICAS, World};
use crate::shard::*;

impl World {
    /// Another replica leads: it has everything that is committed, and perhaps more. It has applied what was assigned
    /// before its election. The old one and the third replica do not know yet.
    pub(super) fn move_leader(&mut self) {
        let old = self.leader.clone();
        let leader = &mut self.leader;
        leader.at = (old.at + 1 + self.random.below(REPLICAS - 1)) % REPLICAS;
        leader.epoch += 1;
        leader.applied = self.assigned.0;
        let kept = leader.log.iter().filter(|batch| batch.1 <= leader.committed).count();
        let keep = kept + self.random.below(leader.log.len() - kept + 1);
        leader.log.truncate(keep);
        leader.waiting.clear();
        self.knows[leader.at] = leader.epoch;
        // What waited there never commits.
        for (call, _) in &old.waiting {
            self.fail(call.clone(), Failure::Unknown(ErrorCode::NotLeaderOrFollower));
        }
        self.deposed = Some(Leader {
            waiting: Vec::new(),
            ..old
        });
    }

    /// The image of some replica gets to the present: the leader hears of assignments, the deposed one that it is.
    pub(super) fn tell_replica(&mut self) {
        let replica = self.random.below(REPLICAS);
        let is_deposed = self.deposed.as_ref().is_some_and(|deposed| deposed.at == replica);
        if is_deposed && self.cut_off.is_some() {
            return;
        }
        self.knows[replica] = self.leader.epoch;
        if self.leader.at == replica {
            self.leader.applied = self.assigned.0;
        }
        self.deposed.take_if(|deposed| deposed.at == replica);
    }

    pub(super) fn arrive(&mut self, call: Call) {
        let named = match &call.action {
            Action::AwaitHighWatermark { leader_epoch, .. }
            | Action::Read { leader_epoch, .. }
            | Action::Append { leader_epoch, .. }
            | Action::Confirm { leader_epoch, .. } => leader_epoch.get(),
            _ => call.to,
        };
        match self.deposed.as_ref().map(|deposed| deposed.epoch) {
            Some(deposed) if deposed == named => self.arrive_at_deposed(call),
            _ => self.arrive_at_leader(call),
        }
    }

    /// It acts on its old image, and nothing that it appends is ever committed.
    fn arrive_at_deposed(&mut self, call: Call) {
        let Some(deposed) = &mut self.deposed else { return };
        let owner = call.owner;
        let later = Failure::Refused(ErrorCode::FencedLeaderEpoch);
        let answer = match call.action {
            Action::Open {
                attempt,
                coordinator_epoch,
            } => {
                // A later assignment has not reached its image.
                let opened = if coordinator_epoch.get() == deposed.applied {
                    Ok(Opened {
                        leader_epoch: LeaderEpoch(deposed.epoch),
                        log_start: Offset(0),
                        log_end: Offset(deposed.end()),
                    })
                } else {
                    Err(Failure::Refused(ErrorCode::CoordinatorLoadInProgress))
                };
                Answer::Opened(attempt, opened)
            }
            Action::AwaitHighWatermark { attempt, offset, .. } => {
                let reached = offset.get() <= deposed.committed;
                let mutant = matches!(self.mutant, Mutant::ConfirmFromImage | Mutant::AskOneFollower);
                Answer::HighWatermark(attempt, if reached && mutant { Ok(offset) } else { Err(later) })
            }
            Action::Read {
                attempt,
                leader_epoch,
                offset,
            } => {
                let chunk = read_log(deposed, leader_epoch, offset, || true);
                Answer::Read(attempt, chunk)
            }
            Action::Append {
                attempt,
                expected_end,
                batches,
                ..
            } => {
                if expected_end.get() == deposed.end() {
                    deposed.append(&batches);
                }
                Answer::Appended(attempt, Err(Failure::Unknown(ErrorCode::RequestTimedOut)))
            }
            Action::Confirm {
                attempt,
                coordinator_epoch,
                ..
            } => {
                let (at, epoch) = (deposed.at, deposed.epoch);
                let stands = coordinator_epoch.get() == deposed.applied;
                let one = (at + 1 + self.random.below(REPLICAS - 1)) % REPLICAS;
                let known = |asked: usize| self.knows[asked] > epoch;
                let replaced = match self.mutant {
                    Mutant::ConfirmFromImage => false,
                    Mutant::AskOneFollower => known(one),
                    _ => (0..REPLICAS).filter(|replica| *replica != at).any(known),
                };
                Answer::Confirmed(attempt, if stands && !replaced { Ok(()) } else { Err(later) })
            }
            _ => return,
        };
        self.answers.push((owner, answer));
    }

    fn check(&self, coordinator: CoordinatorEpoch, leader: LeaderEpoch) -> Result<(), ErrorCode> {
        if leader.get() != self.leader.epoch {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if coordinator.get() != self.leader.applied && self.mutant != Mutant::NoFencing {
            return Err(ErrorCode::NotCoordinator);
        }
        Ok(())
    }

    fn arrive_at_leader(&mut self, call: Call) {
        let owner = call.owner;
        let answer = match call.action.clone() {
            Action::Open {
                attempt,
                coordinator_epoch,
            } => {
                if coordinator_epoch.get() > self.leader.applied {
                    self.leader.applied = coordinator_epoch.get();
                }
                let opened = if coordinator_epoch.get() < self.leader.applied {
                    Err(Failure::Refused(ErrorCode::NotCoordinator))
                } else {
                    Ok(Opened {
                        leader_epoch: LeaderEpoch(self.leader.epoch),
                        log_start: Offset(0),
                        log_end: Offset(self.leader.end()),
                    })
                };
                Answer::Opened(attempt, opened)
            }
            Action::AwaitHighWatermark {
                attempt,
                leader_epoch,
                offset,
            } => {
                if leader_epoch.get() != self.leader.epoch {
                    Answer::HighWatermark(attempt, Err(Failure::Refused(ErrorCode::NotLeaderOrFollower)))
                } else if offset.get() <= self.leader.committed || self.mutant == Mutant::NoBarrier {
                    Answer::HighWatermark(attempt, Ok(offset))
                } else {
                    self.leader.waiting.push((call, offset.get()));
                    return;
                }
            }
            Action::Read {
                attempt,
                leader_epoch,
                offset,
            } => {
                let random = &mut self.random;
                let chunk = read_log(&self.leader, leader_epoch, offset, || random.one_in(3));
                Answer::Read(attempt, chunk)
            }
            Action::Append { .. } => match self.append(call) {
                Some(answer) => answer,
                None => return,
            },
            Action::Confirm {
                attempt,
                coordinator_epoch,
                leader_epoch,
            } => {
                let confirmed = if self.mutant == Mutant::ConfirmAnybody {
                    Ok(())
                } else {
                    self.check(coordinator_epoch, leader_epoch)
                };
                Answer::Confirmed(attempt, confirmed.map_err(Failure::Refused))
            }
            _ => return,
        };
        self.answers.push((owner, answer));
    }

    /// `None` if the answer comes with the high watermark.
    fn append(&mut self, call: Call) -> Option<Answer> {
        let Action::Append {
            attempt,
            coordinator_epoch,
            leader_epoch,
            expected_end,
            batches,
        } = call.action.clone()
        else {
            return None;
        };
        if let Err(error) = self.check(coordinator_epoch, leader_epoch) {
            return Some(Answer::Appended(attempt, Err(Failure::Refused(error))));
        }
        if expected_end.get() != self.leader.end() && self.mutant != Mutant::NoExpectedEnd {
            let refused = Failure::Refused(ErrorCode::OutOfOrderSequenceNumber);
            return Some(Answer::Appended(attempt, Err(refused)));
        }
        let end = self.leader.append(&batches);
        // Without the check the owner does not learn where the log really ends.
        let count: i64 = Batches::new(batches)
            .map(|it| i64::from(it.unwrap().header.record_count))
            .sum();
        let told = Answer::Appended(attempt, Ok(expected_end.plus(count)));
        match self.mutant {
            Mutant::AckBeforeCommit => Some(told),
            Mutant::NoExpectedEnd => {
                self.leader.committed = end;
                Some(told)
            }
            _ => {
                self.leader.waiting.push((call, end));
                None
            }
        }
    }
}

fn read_log(
    leader: &Leader,
    leader_epoch: LeaderEpoch,
    offset: Offset,
    mut enough: impl FnMut() -> bool,
) -> Result<Chunk, Failure> {
    if leader_epoch.get() != leader.epoch {
        return Err(Failure::Refused(ErrorCode::NotLeaderOrFollower));
    }
    let mut batches = BytesMut::new();
    let mut next_offset = offset;
    for (_, end, bytes) in leader.log.iter().filter(|(_, end, _)| *end > offset.get()) {
        batches.extend_from_slice(bytes);
        next_offset = Offset(*end);
        if enough() {
            break;
        }
    }
    Ok(Chunk {
        batches: batches.freeze(),
        next_offset,
    })
}
