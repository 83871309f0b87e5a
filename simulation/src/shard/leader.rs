//! The leader's side: an owner's calls at the broker that it takes for the leader. What is allowed is decided by
//! production's replica.

use highwater_broker::replica::{AckError, LeadershipError, ShardError, check_assignment};
use highwater_coordinator::shard::{Action, Chunk, Failure, Opened};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::Batches;
use highwater_proto::types::{CoordinatorEpoch, LeaderEpoch, Offset, TopicPartition};

use super::{Answer, Asking, Call, assigned_epoch, failed};
use crate::broker::{Ack, Broker, broker_index};
use crate::disk::Batch;
use crate::network::Peer;
use crate::world::World;

/// One in so many deliveries is one of a call that was given up.
const LATENESS: usize = 15;

impl World {
    /// A call arrives, once, twice, or never.
    pub(super) fn deliver_call(&mut self) -> bool {
        let Some(shards) = &mut self.shard else { return false };
        // What nobody waits for any more is slow: its owner has time to begin anew, and to serve.
        if !shards.late.is_empty() && self.random.one_in(LATENESS) {
            let call = shards.late.swap_remove(self.random.below(shards.late.len()));
            self.arrive(call);
            return true;
        }
        if shards.calls.is_empty() {
            return false;
        }
        let at = self.random.below(shards.calls.len());
        let append = matches!(shards.calls[at].action, Action::Append { .. });
        let often = if append { 9 } else { 14 };
        let chance = if self.lossy { self.random.below(often) } else { often };
        let call = match chance {
            // Given up by its owner, and still on its way; or lost.
            chance @ (0 | 1) => {
                let call = shards.calls.swap_remove(at);
                if chance == 0 && append {
                    shards.late.push(call.clone());
                } else if chance == 0 {
                    shards.calls.push(call.clone());
                }
                if let Some((_, answer)) = failed(&call.action, Failure::Unknown(ErrorCode::RequestTimedOut)) {
                    self.answer_shard(call, answer);
                }
                return true;
            }
            2 => shards.calls[at].clone(),
            _ => shards.calls.swap_remove(at),
        };
        self.arrive(call);
        true
    }

    /// Nothing answers at a broker that does not run.
    pub(super) fn arrive(&mut self, call: Call) {
        let broker = broker_index(call.to);
        let key = self.shard_key();
        let (Some(key), true) = (key, broker < self.brokers.len() && self.runs(broker)) else {
            if let Some((_, answer)) = failed(&call.action, Failure::Unknown(ErrorCode::NetworkException)) {
                self.answer_shard(call, answer);
            }
            return;
        };
        match call.action.clone() {
            Action::Open { coordinator_epoch, .. } => {
                let opened = self
                    .open_shard(broker, key, coordinator_epoch)
                    .map_err(Failure::Refused);
                self.answer_shard(call, Answer::Opened(opened));
            }
            Action::AwaitHighWatermark {
                leader_epoch, offset, ..
            } => self.await_high_watermark(broker, key, call, leader_epoch, offset),
            Action::Read {
                leader_epoch, offset, ..
            } => {
                let chunk = self
                    .read_shard(broker, key, leader_epoch, offset)
                    .map_err(Failure::Refused);
                self.answer_shard(call, Answer::Read(chunk));
            }
            Action::Append {
                coordinator_epoch,
                leader_epoch,
                expected_end,
                batches,
                ..
            } => {
                let batches = Batches::new(batches).filter_map(Result::ok).collect();
                let checked = self.check_append(broker, key, coordinator_epoch, leader_epoch, expected_end);
                match checked {
                    Ok(()) => self.append_shard(broker, key, call, batches),
                    Err(error) => self.answer_shard(call, Answer::Appended(Err(error))),
                }
            }
            Action::Confirm {
                coordinator_epoch,
                leader_epoch,
                ..
            } => self.confirm(broker, key, call, coordinator_epoch, leader_epoch),
            _ => {}
        }
    }

    fn open_shard(&mut self, broker: usize, key: TopicPartition, epoch: CoordinatorEpoch) -> Result<Opened, ErrorCode> {
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let process = process.as_mut().ok_or(ErrorCode::NotLeaderOrFollower)?;
        match assigned_epoch(&process.image) {
            Some(assigned) if assigned == epoch => {}
            Some(assigned) if assigned > epoch => return Err(ErrorCode::NotCoordinator),
            _ => return Err(ErrorCode::CoordinatorLoadInProgress),
        }
        let (Some(local), Some(files)) = (process.replicas.get_mut(&key), disk.logs.get(&key)) else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        let mut owner = local.shard_owner;
        local.replica.open_shard(&mut owner, epoch).map_err(shard_code)?;
        local.shard_owner = owner;
        Ok(Opened {
            leader_epoch: local.replica.leader_epoch(),
            log_start: Offset(0),
            log_end: files.end(),
        })
    }

    fn await_high_watermark(
        &mut self,
        broker: usize,
        key: TopicPartition,
        call: Call,
        leader_epoch: LeaderEpoch,
        offset: Offset,
    ) {
        let refused = Failure::Refused(ErrorCode::NotLeaderOrFollower);
        let leads =
            |local: &mut crate::broker::LocalReplica| local.replica.check_leadership(Some(leader_epoch)).is_ok();
        if !self.local(broker, key).is_some_and(leads) {
            return self.answer_shard(call, Answer::HighWatermark(Err(refused)));
        }
        let number = self.next_wait(call);
        let Some(local) = self.local(broker, key) else { return };
        if let Err(decided) = local.replica.wait(offset, Ack::Shard { number, end: offset }) {
            self.shard_wait_is_over(number, offset, decided.result);
        }
    }

    /// The high watermark has passed, or never will here.
    pub(crate) fn shard_wait_is_over(&mut self, number: u64, end: Offset, result: Result<(), AckError>) {
        let Some(shards) = &mut self.shard else { return };
        let Some(at) = shards.waiting.iter().position(|(waiting, _)| *waiting == number) else {
            return;
        };
        let (_, call) = shards.waiting.swap_remove(at);
        let answer = match (&call.action, result) {
            (Action::Append { .. }, Ok(())) => Answer::Appended(Ok(end)),
            (Action::Append { .. }, Err(_)) => Answer::Appended(Err(Failure::Unknown(ErrorCode::NotLeaderOrFollower))),
            // A take-over at a leader that has been replaced would serve nobody: the followers have to say that it has not.
            (Action::AwaitHighWatermark { leader_epoch, .. }, Ok(())) => {
                let leader_epoch = *leader_epoch;
                return self.reached(call, leader_epoch, end);
            }
            (_, Ok(())) => return,
            (_, Err(_)) => Answer::HighWatermark(Err(Failure::Refused(ErrorCode::NotLeaderOrFollower))),
        };
        self.answer_shard(call, answer);
    }

    /// A broker's process ended: nobody answers what waited there.
    pub(crate) fn shard_waits_are_lost(&mut self, broker: usize) {
        let Some(shards) = &mut self.shard else { return };
        let (lost, kept) = shards
            .waiting
            .drain(..)
            .partition(|(_, call)| broker_index(call.to) == broker);
        shards.waiting = kept;
        let lost: Vec<(u64, Call)> = lost;
        let (asked, kept) = shards
            .asking
            .drain(..)
            .partition(|asking| broker_index(asking.call.to) == broker);
        shards.asking = kept;
        let asked: Vec<Asking> = asked;
        let lost = lost.into_iter().map(|(_, call)| call);
        for call in lost.chain(asked.into_iter().map(|asking| asking.call)) {
            if let Some((_, answer)) = failed(&call.action, Failure::Unknown(ErrorCode::NetworkException)) {
                self.answer_shard(call, answer);
            }
        }
    }

    fn read_shard(
        &mut self,
        broker: usize,
        key: TopicPartition,
        leader_epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Chunk, ErrorCode> {
        // Mostly all of it: a take-over of many reads, each of which may be lost, would never end.
        let many = if self.random.one_in(6) { 3 } else { 500 };
        let Broker { disk, process, .. } = &self.brokers[broker];
        let local = process.as_ref().and_then(|process| process.replicas.get(&key));
        let (Some(local), Some(files)) = (local, disk.logs.get(&key)) else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        local
            .replica
            .check_leadership(Some(leader_epoch))
            .map_err(leadership_code)?;
        let mut bytes = bytes::BytesMut::new();
        let mut next_offset = offset;
        for batch in files.batches()[files.position(offset)..].iter().take(many) {
            if let Some(content) = self.payloads.get(&batch.content) {
                let mut placed = content.clone();
                placed.header.base_offset = batch.base;
                bytes.extend_from_slice(&placed.to_bytes());
            }
            next_offset = batch.end();
        }
        Ok(Chunk {
            batches: bytes.freeze(),
            next_offset,
        })
    }

    fn check_append(
        &mut self,
        broker: usize,
        key: TopicPartition,
        epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
        expected_end: Offset,
    ) -> Result<(), Failure> {
        let unknown = Failure::Unknown(ErrorCode::NotLeaderOrFollower);
        let process = self.brokers[broker].process.as_ref().ok_or(unknown)?;
        check_assignment(assigned_epoch(&process.image), epoch).map_err(|error| Failure::Refused(shard_code(error)))?;
        let local = process.replicas.get(&key).ok_or(unknown)?;
        local
            .replica
            .check_shard_append(&local.shard_owner, epoch, leader_epoch, expected_end)
            .map_err(|error| match shard_code(error) {
                code @ (ErrorCode::NotCoordinator | ErrorCode::OutOfOrderSequenceNumber) => Failure::Refused(code),
                code => Failure::Unknown(code),
            })?;
        local.replica.check_append(true).map_err(|error| match error {
            AckError::NotEnoughReplicas => Failure::Refused(ErrorCode::NotEnoughReplicas),
            _ => unknown,
        })
    }

    fn append_shard(
        &mut self,
        broker: usize,
        key: TopicPartition,
        call: Call,
        batches: Vec<highwater_proto::record::Batch>,
    ) {
        for payload in batches {
            let content = self.next_content();
            let count = i64::from(payload.header.record_count);
            self.payloads.insert(content, payload);
            let Broker { disk, process, .. } = &mut self.brokers[broker];
            let (Some(files), Some(process)) = (disk.logs.get_mut(&key), process.as_mut()) else {
                return;
            };
            let Some(local) = process.replicas.get_mut(&key) else {
                return;
            };
            let batch = Batch {
                base: files.end(),
                count,
                epoch: local.replica.leader_epoch(),
                content,
            };
            self.append_to_log(broker, key, batch);
        }
        let number = self.next_wait(call);
        let Some(local) = self.local(broker, key) else { return };
        let end = local.replica.log().end;
        if let Err(decided) = local.replica.wait(end, Ack::Shard { number, end }) {
            self.shard_wait_is_over(number, end, decided.result);
        }
    }

    fn confirm(
        &mut self,
        broker: usize,
        key: TopicPartition,
        call: Call,
        epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
    ) {
        match self.check_owner(broker, key, epoch, leader_epoch) {
            Ok(()) => self.ask_followers(broker, key, call, leader_epoch, Answer::Confirmed(Ok(()))),
            Err(failure) => self.answer_shard(call, Answer::Confirmed(Err(failure))),
        }
    }

    fn check_owner(
        &self,
        broker: usize,
        key: TopicPartition,
        epoch: CoordinatorEpoch,
        leader_epoch: LeaderEpoch,
    ) -> Result<(), Failure> {
        let refused = Failure::Refused(ErrorCode::NotLeaderOrFollower);
        let process = self.brokers[broker].process.as_ref().ok_or(refused)?;
        let local = process.replicas.get(&key).ok_or(refused)?;
        check_assignment(assigned_epoch(&process.image), epoch)
            .and_then(|()| local.replica.check_shard(&local.shard_owner, epoch, leader_epoch))
            .map_err(|error| Failure::Refused(shard_code(error)))
    }

    /// The high watermark that a take-over waits for is there.
    fn reached(&mut self, call: Call, leader_epoch: LeaderEpoch, end: Offset) {
        let broker = broker_index(call.to);
        if let Some(key) = self.shard_key() {
            self.ask_followers(broker, key, call, leader_epoch, Answer::HighWatermark(Ok(end)));
        }
    }

    /// Before an answer leaves, the followers have to say that they know no later leader.
    fn ask_followers(
        &mut self,
        broker: usize,
        key: TopicPartition,
        call: Call,
        leader_epoch: LeaderEpoch,
        answer: Answer,
    ) {
        let witnesses = match self.local(broker, key) {
            Some(local) => local
                .replica
                .check_leadership(Some(leader_epoch))
                .map_err(|error| Failure::Refused(leadership_code(error)))
                .and_then(|()| {
                    local.replica.witnesses().map_err(|error| match error {
                        AckError::NotEnoughReplicas => Failure::Unknown(ErrorCode::NotEnoughReplicas),
                        _ => Failure::Refused(ErrorCode::NotLeaderOrFollower),
                    })
                }),
            None => Err(Failure::Refused(ErrorCode::NotLeaderOrFollower)),
        };
        match (witnesses, &mut self.shard) {
            (Ok(witnesses), Some(shards)) => shards.asking.push(Asking {
                call,
                answer,
                leader_epoch,
                witnesses: witnesses.to_vec(),
            }),
            (Ok(_), None) => {}
            (Err(failure), _) => self.not_confirmed(call, failure),
        }
    }

    fn not_confirmed(&mut self, call: Call, failure: Failure) {
        let failure = match (&call.action, failure) {
            // It asks its followers again until the wait is over; then its owner comes again.
            (Action::AwaitHighWatermark { .. }, Failure::Unknown(_)) => Failure::Refused(ErrorCode::RequestTimedOut),
            (_, failure) => failure,
        };
        if let Some((_, answer)) = failed(&call.action, failure) {
            self.answer_shard(call, answer);
        }
    }

    /// A follower is asked whether it knows a later leader.
    pub(super) fn ask_witness(&mut self) -> bool {
        let key = self.shard_key();
        let Some(shards) = &mut self.shard else { return false };
        if shards.asking.is_empty() {
            return false;
        }
        let at = self.random.below(shards.asking.len());
        let leader = broker_index(shards.asking[at].call.to);
        if !self.runs(leader) {
            return false;
        }
        let Some(shards) = &mut self.shard else { return false };
        let asking = &mut shards.asking[at];
        let Some(witness) = asking.witnesses.pop() else {
            let done = shards.asking.swap_remove(at);
            self.answer_shard(done.call, done.answer);
            return true;
        };
        let leader_epoch = asking.leader_epoch;
        let broker = broker_index(witness);
        let (from, to) = (Peer::Broker(leader), Peer::Broker(broker));
        let known = match key {
            Some(key) if self.runs(broker) && !self.network.is_cut(from, to) => {
                self.local(broker, key).map(|local| local.replica.leader_epoch())
            }
            _ => None,
        };
        let failure = match known {
            Some(known) if known <= leader_epoch => return true,
            Some(_) => Failure::Refused(ErrorCode::FencedLeaderEpoch),
            None => Failure::Unknown(ErrorCode::RequestTimedOut),
        };
        if let Some(shards) = &mut self.shard {
            let asking = shards.asking.swap_remove(at);
            self.not_confirmed(asking.call, failure);
        }
        true
    }
}

fn leadership_code(error: LeadershipError) -> ErrorCode {
    match error {
        LeadershipError::NotLeader => ErrorCode::NotLeaderOrFollower,
        LeadershipError::Fenced => ErrorCode::FencedLeaderEpoch,
        LeadershipError::Unknown => ErrorCode::UnknownLeaderEpoch,
    }
}

fn shard_code(error: ShardError) -> ErrorCode {
    match error {
        ShardError::Leadership(error) => leadership_code(error),
        ShardError::NotOwner => ErrorCode::NotCoordinator,
        ShardError::OtherEnd => ErrorCode::OutOfOrderSequenceNumber,
    }
}
