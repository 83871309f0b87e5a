//! What a leader sent, on its way into the logs.

use std::sync::Arc;

use highwater_proto::kafka::messages::fetch::response::PartitionData;
use highwater_proto::record::{Batch, Batches};
use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs, TopicPartition};
use smallvec::SmallVec;

use crate::log::EpochEnd;
use crate::partition::{FetchPoint, FollowError, LeaderBatches, Partition};

/// Batches of one partition in one answer; few, as a rule.
type SentBatches = SmallVec<[Batch; 4]>;

/// What is to be done with the answer for one partition.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) key: TopicPartition,
    pub(super) partition: Arc<Partition>,
    asked: FetchPoint,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Append {
        batches: SentBatches,
        bytes: usize,
        high_watermark: Offset,
        log_start: Offset,
    },
    Truncate(EpochEnd),
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
        let work = if diverging.epoch >= 0 {
            Work::Truncate(EpochEnd {
                epoch: LeaderEpoch(diverging.epoch),
                end: Offset(diverging.end_offset),
            })
        } else {
            let mut batches = SentBatches::new();
            let mut bytes = 0;
            for batch in Batches::new(data.records.unwrap_or_default()) {
                let batch = batch?;
                if batch.header.leader_epoch > asked.leader_epoch {
                    break;
                }
                bytes += batch.size();
                batches.push(batch);
            }
            Work::Append {
                batches,
                bytes,
                high_watermark: Offset(data.high_watermark),
                log_start: Offset(data.log_start_offset),
            }
        };
        Ok(Self {
            key,
            partition,
            asked,
            work,
        })
    }

    /// Bytes of batches.
    pub(super) fn bytes(&self) -> usize {
        match &self.work {
            Work::Append { bytes, .. } => *bytes,
            Work::Truncate(_) => 0,
        }
    }

    /// Records that are missing here once this is done.
    pub(super) fn lag(&self) -> i64 {
        match &self.work {
            Work::Append {
                batches,
                high_watermark,
                ..
            } => {
                let end = batches
                    .last()
                    .map_or(self.asked.offset, |last| last.header.next_offset());
                (high_watermark.get() - end.get()).max(0)
            }
            Work::Truncate(_) => 0,
        }
    }

    /// True if this may have to wait for the disk.
    pub(super) fn is_slow(&self, now: TimestampMs) -> bool {
        match &self.work {
            Work::Append { batches, bytes, .. } => {
                let newest = batches.iter().map(|batch| batch.header.max_timestamp).max();
                newest.is_some_and(|newest| self.partition.follower_append_creates_files(*bytes as u64, newest, now))
            }
            Work::Truncate(_) => true,
        }
    }

    /// Carries it out.
    pub(super) fn run(&self, now: TimestampMs) -> Result<(), FollowError> {
        match &self.work {
            Work::Append {
                batches,
                high_watermark,
                log_start,
                ..
            } => {
                if let Some(broken) = batches.iter().find(|batch| !batch.verify_crc()) {
                    return Err(FollowError::Checksum(broken.header.base_offset));
                }
                let sent = LeaderBatches {
                    asked: self.asked,
                    batches,
                    high_watermark: *high_watermark,
                    log_start: *log_start,
                };
                self.partition.append_as_follower(&sent, now)
            }
            Work::Truncate(leader) => self.partition.truncate_as_follower(&self.asked, *leader),
        }
    }
}
