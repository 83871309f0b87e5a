//! Leading: producers' appends and followers' fetches.

use highwater_broker::replica::{FollowerFetch, LeadershipError, has_diverged};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{NodeId, TopicPartition};

use super::{Ack, Broker, broker_index};
use crate::disk::Batch;
use crate::invariants;
use crate::message::{FetchAnswer, FetchRequest, Fetched, Message};
use crate::network::{ConnectionId, Peer};
use crate::world::World;

/// Most batches in one answer.
const MAX_BATCHES: usize = 2;

impl World {
    /// A client's batch; it comes to any replica, as clients do that know the old leader.
    pub(crate) fn produce(&mut self) -> bool {
        let Some((broker, key)) = self.any_replica() else {
            return false;
        };
        if Some(key) == self.shard_key() {
            return false;
        }
        let acks_all = !self.random.one_in(6);
        let count = 1 + self.random.below(2) as i64;
        let Some(local) = self.local(broker, key) else {
            return false;
        };
        if local.replica.check_append(acks_all).is_err() {
            return false;
        }
        let (base, epoch) = (local.replica.log().end, local.replica.leader_epoch());
        let batch = Batch {
            base,
            count,
            epoch,
            content: self.next_content(),
        };
        self.history.summary.produced += 1;
        self.append_to_log(broker, key, batch);
        if acks_all && let Some(local) = self.local(broker, key) {
            let ack = Ack::Producer { key, batch };
            if let Err(decided) = local.replica.wait(batch.end(), ack) {
                self.decided_ack(broker, decided.ack, decided.result);
            }
        }
        true
    }

    /// A leader appends.
    pub(crate) fn append_to_log(&mut self, broker: usize, key: TopicPartition, batch: Batch) {
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get_mut(&key), process.as_mut()) else {
            return;
        };
        let (Some(local), Some(past)) = (process.replicas.get_mut(&key), self.history.partitions.get_mut(&key)) else {
            return;
        };
        local.epochs.assign(batch.epoch, batch.base);
        let before = files.batches().last().copied();
        files.append(batch);
        if local.plan.write_caching {
            past.hold(broker, &[batch]);
        }
        files.cached |= local.plan.write_caching;
        let flushed = local.flushed(files);
        let effects = local.replica.appended(files.end(), flushed);
        self.trace
            .say(|| format!("b{broker} appends {batch:?} to {}", past.name));
        let same = invariants::one_record_per_offset_and_epoch::check(past, batch, broker);
        let contiguous = invariants::offsets_are_contiguous::check(before, batch, broker);
        self.history
            .check(invariants::one_record_per_offset_and_epoch::NAME, same);
        self.history.check(invariants::offsets_are_contiguous::NAME, contiguous);
        self.carry_out(broker, key, effects);
    }

    /// A consumer reads on, from any replica: below its high watermark a follower's word is as good.
    pub(crate) fn consume(&mut self) -> bool {
        let Some((broker, key)) = self.any_replica() else {
            return false;
        };
        let Broker { disk, process, .. } = &self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get(&key), process) else {
            return false;
        };
        let Some(local) = process.replicas.get(&key) else {
            return false;
        };
        let Some(past) = self.history.partitions.get_mut(&key) else {
            return false;
        };
        let at = files.position(past.position);
        let visible = files.position(local.replica.high_watermark());
        if at >= visible {
            return false;
        }
        let batch = files.batches()[at];
        let result = invariants::committed_reads_stay::check(past, batch, broker);
        past.position = batch.end();
        self.history.summary.read += 1;
        self.history.check(invariants::committed_reads_stay::NAME, result);
        true
    }

    /// A follower asks.
    pub(crate) fn answer_fetch(&mut self, broker: usize, connection: ConnectionId, request: FetchRequest) {
        let result = self.read_for_follower(broker, &request);
        if matches!(result, Ok(Fetched::Diverging { .. })) {
            self.overtake(request.key, connection);
        }
        let answer = Message::Fetched(FetchAnswer { request, result });
        self.network.send(connection, Peer::Broker(broker), answer);
    }

    fn read_for_follower(&mut self, broker: usize, request: &FetchRequest) -> Result<Fetched, ErrorCode> {
        let now = self.now;
        let FetchRequest { key, point, .. } = *request;
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get(&key), process.as_mut()) else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        let local = process.replicas.get_mut(&key).ok_or(ErrorCode::NotLeaderOrFollower)?;
        local
            .replica
            .check_leadership(Some(point.leader_epoch))
            .map_err(leadership_code)?;
        if point.last_epoch.get() >= 0 {
            let found = local.epochs.end_offset_for(point.last_epoch, files.end());
            let newest = local.epochs.latest().map(|latest| latest.epoch);
            let (epoch, end) = local
                .replica
                .epoch_end(point.last_epoch, found.map(|it| (it.epoch, it.end)), newest)
                .ok_or(ErrorCode::OffsetOutOfRange)?;
            if has_diverged(point.last_epoch, point.offset, (epoch, end)) {
                return Ok(Fetched::Diverging { epoch, end });
            }
        }
        if point.offset > files.end() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let fetch = FollowerFetch {
            node: request.node,
            broker_epoch: request.broker_epoch,
            offset: point.offset,
            log_start: point.log_start,
            now,
        };
        let effects = local.replica.follower_fetched(fetch).map_err(leadership_code)?;
        let high_watermark = local.replica.high_watermark();
        let from = files.position(point.offset);
        let batches = files.batches()[from..].iter().take(MAX_BATCHES).copied().collect();
        self.carry_out(broker, key, effects);
        Ok(Fetched::Batches {
            batches,
            high_watermark,
        })
    }

    /// The broker that leads a partition according to the store, if it runs and knows it.
    pub(crate) fn acting_leader(&self, key: TopicPartition) -> Option<usize> {
        let image = self.store.image();
        let leader: NodeId = image.partition(key.topic_id, key.partition)?.leader?;
        let broker = broker_index(leader);
        let process = self.brokers[broker].process.as_ref()?;
        let local = process.replicas.get(&key)?;
        local.replica.is_leader().then_some(broker)
    }
}

fn leadership_code(error: LeadershipError) -> ErrorCode {
    match error {
        LeadershipError::NotLeader => ErrorCode::NotLeaderOrFollower,
        LeadershipError::Fenced => ErrorCode::FencedLeaderEpoch,
        LeadershipError::Unknown => ErrorCode::UnknownLeaderEpoch,
    }
}
