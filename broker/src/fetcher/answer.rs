//! What a leader sent, on its way into the logs.

use std::sync::Arc;

use highwater_proto::kafka::messages::fetch::response::PartitionData;
use highwater_proto::record::{Batch, Batches};
use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs, TopicPartition};
use smallvec::SmallVec;

use crate::log::EpochEnd;
use crate::partition::{FetchPoint, FollowError, LeaderBatches, Partition};

/// What is to be done with the answer for one partition.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) key: TopicPartition,
    pub(super) partition: Arc<Partition>,
    asked: FetchPoint,
    /// Batches of one partition in one answer; few, as a rule.
    batches: SmallVec<[Batch; 4]>,
    bytes: usize,
    high_watermark: Offset,
    log_start: Offset,
    /// The logs differ: then there is nothing else in the answer that counts.
    diverging: Option<EpochEnd>,
}

impl Step {
    /// Reads the answer, up to the first batch of an epoch that the fetch did not know of (rule 129).
    pub(super) fn new(
        key: TopicPartition,
        partition: Arc<Partition>,
        asked: FetchPoint,
        data: PartitionData,
    ) -> Result<Self, FollowError> {
        let diverging = &data.diverging_epoch;
        let diverging = (diverging.epoch >= 0).then_some(EpochEnd {
            epoch: LeaderEpoch(diverging.epoch),
            end: Offset(diverging.end_offset),
        });
        let mut batches = SmallVec::new();
        let mut bytes = 0;
        for batch in Batches::new(data.records.unwrap_or_default()) {
            let batch = batch?;
            if batch.header.leader_epoch > asked.leader_epoch {
                break;
            }
            bytes += batch.size();
            batches.push(batch);
        }
        Ok(Self {
            key,
            partition,
            asked,
            batches,
            bytes,
            high_watermark: Offset(data.high_watermark),
            log_start: Offset(data.log_start_offset),
            diverging,
        })
    }

    /// Bytes of batches.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that are missing here once this is done.
    pub(super) fn lag(&self) -> i64 {
        let last = self.batches.last();
        let end = last.map_or(self.asked.offset, |last| last.header.next_offset());
        (self.high_watermark.get() - end.get()).max(0)
    }

    /// True if this may have to wait for the disk.
    pub(super) fn is_slow(&self, now: TimestampMs) -> bool {
        let newest = self.batches.iter().map(|batch| batch.header.max_timestamp).max();
        let creates_files = |newest| {
            self.partition
                .follower_append_creates_files(self.bytes as u64, newest, now)
        };
        self.diverging.is_some() || newest.is_some_and(creates_files)
    }

    /// Carries it out.
    pub(super) fn run(&self, now: TimestampMs) -> Result<(), FollowError> {
        if let Some(leader) = self.diverging {
            return self.partition.truncate_as_follower(&self.asked, leader);
        }
        if let Some(broken) = self.batches.iter().find(|batch| !batch.verify_crc()) {
            return Err(FollowError::Checksum(broken.header.base_offset));
        }
        let sent = LeaderBatches {
            asked: self.asked,
            batches: &self.batches,
            high_watermark: self.high_watermark,
            log_start: self.log_start,
        };
        self.partition.append_as_follower(&sent, now)
    }
}
