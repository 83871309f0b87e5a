//! One session: its partitions in fetch order and what was last sent of each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use highwater_proto::kafka::ErrorCode;

use super::{FetchPartition, ForgottenPartition, SentState, TopicKey};

/// Of a partition that was never sent, or was sent with an error: no real high watermark equals it.
const NEVER_SENT: i64 = -1;

#[derive(Debug)]
struct Cached {
    partition: FetchPartition,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
pub(super) struct Session {
    /// Epoch that the next request must name.
    pub(super) next_epoch: i32,
    /// Named by ids: a session never mixes names and ids.
    pub(super) uses_ids: bool,
    partitions: Vec<Cached>,
    positions: HashMap<(TopicKey, i32), usize, foldhash::fast::RandomState>,
    /// Position that the next fetch begins with, so that partitions in front cannot starve those behind.
    first: usize,
}

impl Session {
    pub(super) fn new(uses_ids: bool) -> Self {
        Self {
            next_epoch: 1,
            uses_ids,
            partitions: Vec::new(),
            positions: HashMap::default(),
            first: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Adds a partition or takes over what changed about it.
    pub(super) fn put(&mut self, partition: &FetchPartition) {
        match self.positions.entry((partition.topic.clone(), partition.index)) {
            Entry::Occupied(at) => {
                let cached = &mut self.partitions[*at.get()].partition;
                let topic = cached.topic.clone();
                *cached = FetchPartition {
                    topic,
                    ..partition.clone()
                };
            }
            Entry::Vacant(_) => {
                // What is kept must not hold on to the frame it came in.
                let topic = partition.topic.detached();
                self.positions
                    .insert((topic.clone(), partition.index), self.partitions.len());
                let partition = FetchPartition {
                    topic,
                    ..partition.clone()
                };
                self.partitions.push(Cached {
                    partition,
                    high_watermark: NEVER_SENT,
                    log_start: NEVER_SENT,
                });
            }
        }
    }

    pub(super) fn forget(&mut self, forgotten: ForgottenPartition) {
        let Some(at) = self.positions.remove(&(forgotten.topic, forgotten.index)) else {
            return;
        };
        self.partitions.swap_remove(at);
        if let Some(moved) = self.partitions.get(at) {
            let key = (moved.partition.topic.clone(), moved.partition.index);
            self.positions.insert(key, at);
        }
    }

    /// The partitions in the order in which they are to be fetched now.
    pub(super) fn in_order(&self) -> Vec<FetchPartition> {
        let first = self.first.min(self.partitions.len());
        let (front, back) = self.partitions.split_at(first);
        back.iter()
            .chain(front)
            .map(|cached| cached.partition.clone())
            .collect()
    }

    /// Remembers what is sent of a partition; true if an incremental response has to list it (rule 46).
    pub(super) fn note(&mut self, partition: &FetchPartition, sent: &SentState) -> bool {
        let key = (partition.topic.clone(), partition.index);
        let Some(at) = self.positions.get(&key).copied() else {
            return true;
        };
        let Some(cached) = self.partitions.get_mut(at) else {
            return true;
        };
        let changed = cached.high_watermark != sent.high_watermark || cached.log_start != sent.log_start;
        if sent.has_records {
            // The next fetch begins behind the last partition that had its turn.
            self.first = at + 1;
        }
        if sent.error == ErrorCode::None {
            cached.high_watermark = sent.high_watermark;
            cached.log_start = sent.log_start;
            changed || sent.has_records || sent.must_send
        } else {
            // Sent again once the error is over, whatever the high watermark is then.
            cached.high_watermark = NEVER_SENT;
            true
        }
    }
}
