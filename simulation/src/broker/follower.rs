//! Following: what is fetched is flushed before the next fetch, which so acknowledges it.

use highwater_broker::log::EpochEnd;
use highwater_broker::replica::{Cut, Effects, Following};
use highwater_proto::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

use super::{Ack, Broker, broker_index, node_id};
use crate::disk::Batch;
use crate::invariants;
use crate::message::{FetchAnswer, FetchRequest, Fetched, Message};
use crate::network::{ConnectionId, Peer};
use crate::world::World;

/// The epoch of the last batch of an empty log.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);

impl World {
    /// Some follower asks.
    pub(crate) fn fetch_some(&mut self) -> bool {
        self.any_replica().is_some_and(|(broker, key)| self.fetch(broker, key))
    }

    /// A follower asks its leader, if it may.
    pub(crate) fn fetch(&mut self, broker: usize, key: TopicPartition) -> bool {
        let Some((leader, request)) = self.fetch_request(broker, key) else {
            return false;
        };
        let Some(connection) = self.fetcher(broker, leader) else {
            return false;
        };
        self.network
            .send(connection, Peer::Broker(broker), Message::Fetch(request));
        if let Some(local) = self.local(broker, key) {
            local.asked = Some(connection);
        }
        true
    }

    fn fetch_request(&self, broker: usize, key: TopicPartition) -> Option<(NodeId, FetchRequest)> {
        let Broker { disk, process, .. } = &self.brokers[broker];
        let process = process.as_ref()?;
        let files = disk.logs.get(&key)?;
        let local = process.replicas.get(&key).filter(|local| local.asked.is_none())?;
        let Following::Ready(point) = local.replica.following(files.last_epoch().unwrap_or(NO_EPOCH)) else {
            return None;
        };
        let request = FetchRequest {
            key,
            node: node_id(broker),
            broker_epoch: process.epoch?,
            point,
        };
        Some((point.leader, request))
    }

    /// The one connection to a leader; none while that cannot be reached.
    fn fetcher(&mut self, broker: usize, leader: NodeId) -> Option<ConnectionId> {
        let process = self.brokers[broker].process.as_mut()?;
        if let Some(connection) = process.fetchers.get(&leader) {
            return Some(*connection);
        }
        let (from, to) = (Peer::Broker(broker), Peer::Broker(broker_index(leader)));
        if self.brokers[broker_index(leader)].process.is_none() || self.network.is_cut(from, to) {
            return None;
        }
        let connection = self.network.open(from, to);
        let process = self.brokers[broker].process.as_mut()?;
        process.fetchers.insert(leader, connection);
        Some(connection)
    }

    /// A connection that this broker had opened, or that was opened to it, is over.
    pub(crate) fn fetcher_closed(&mut self, broker: usize, connection: ConnectionId) {
        let Some(process) = &mut self.brokers[broker].process else {
            return;
        };
        process.fetchers.retain(|_, own| *own != connection);
        for local in process.replicas.values_mut().filter(|it| it.asked == Some(connection)) {
            local.asked = None;
        }
    }

    /// The leader answered.
    pub(crate) fn fetched(&mut self, broker: usize, connection: ConnectionId, answer: FetchAnswer) {
        let key = answer.request.key;
        let Some(local) = self.local(broker, key) else { return };
        if local.asked == Some(connection) {
            local.asked = None;
        }
        // Also one that nobody waits for any more may come.
        let (true, Ok(fetched)) = (local.replica.expects(&answer.request.point), answer.result) else {
            return;
        };
        match fetched {
            Fetched::Diverging { epoch, end } => self.diverged(broker, key, EpochEnd { epoch, end }),
            Fetched::Batches {
                batches,
                high_watermark,
            } => {
                self.append_as_follower(broker, key, &batches);
                if let Some(local) = self.local(broker, key) {
                    let effects = local.replica.leader_high_watermark(high_watermark);
                    self.carry_out(broker, key, effects);
                }
            }
        }
    }

    /// Cuts the log where it left the leader's.
    fn diverged(&mut self, broker: usize, key: TopicPartition, leader: EpochEnd) {
        let Broker { disk, process, .. } = &mut self.brokers[broker];
        let (Some(files), Some(process)) = (disk.logs.get_mut(&key), process.as_mut()) else {
            return;
        };
        let Some(local) = process.replicas.get_mut(&key) else {
            return;
        };
        let own = local.epochs.end_offset_for(leader.epoch, files.end());
        let cut = match Cut::at(own.map(|own| own.end), leader.end, files.end()) {
            Cut::To(offset) => offset,
            Cut::All => Offset(0),
        };
        files.truncate(cut);
        local.durability.cut(files.end());
        local.epochs.truncate_from_end(files.end());
        let flushed = local.flushed(files);
        local.replica.truncated(files.ends(flushed));
        files.high_watermark = files.high_watermark.min(files.end());
        local.highest_seen = local.highest_seen.min(local.replica.high_watermark());
        let end = files.end();
        self.trace
            .say(|| format!("b{broker} cuts {} to {end}", self.history.name(key)));
        self.has_cut(broker, key);
    }

    fn append_as_follower(&mut self, broker: usize, key: TopicPartition, batches: &[Batch]) {
        for batch in batches {
            let Broker { disk, process, .. } = &mut self.brokers[broker];
            let (Some(files), Some(process)) = (disk.logs.get_mut(&key), process.as_mut()) else {
                return;
            };
            let Some(local) = process.replicas.get_mut(&key) else {
                return;
            };
            let Some(past) = self.history.partitions.get_mut(&key) else {
                return;
            };
            // Followers check offset continuity and epoch order of what they copy.
            if batch.base != files.end() || files.last_epoch().is_some_and(|last| batch.epoch < last) {
                return;
            }
            local.epochs.assign(batch.epoch, batch.base);
            let before = files.batches().last().copied();
            files.append(*batch);
            if local.plan.write_caching {
                past.hold(broker, &[*batch]);
            }
            files.cached |= local.plan.write_caching;
            let flushed = local.flushed(files);
            let effects: Effects<Ack> = local.replica.appended(files.end(), flushed);
            let same = invariants::one_record_per_offset_and_epoch::check(past, *batch, broker);
            let contiguous = invariants::offsets_are_contiguous::check(before, *batch, broker);
            self.history
                .check(invariants::one_record_per_offset_and_epoch::NAME, same);
            self.history.check(invariants::offsets_are_contiguous::NAME, contiguous);
            self.trace
                .say(|| format!("b{broker} copies {batch:?} of {}", self.history.name(key)));
            self.carry_out(broker, key, effects);
        }
    }
}
