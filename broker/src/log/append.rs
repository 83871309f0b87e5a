//! Appending: offsets and epoch are stamped into copies of the headers, record bytes go from the client's buffer to
//! the page cache.

use std::io::IoSlice;
use std::sync::Arc;

use highwater_proto::record::{BATCH_OVERHEAD, Batch, BatchHeader};
use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs};
use smallvec::SmallVec;

use crate::log::error::LogError;
use crate::log::index::SegmentFiles;
use crate::log::partition_log::Log;
use crate::log::producer_state::{ProducerBatch, SequenceError};
use crate::log::segment::Segment;

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record (of the original, for a duplicate).
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Largest timestamp of the batches.
    pub max_timestamp: TimestampMs,
    /// True if an idempotent producer had sent this before: nothing was appended.
    pub duplicate: bool,
    /// True if a segment was closed: with write caching a good moment for a flush in the background.
    pub rolled: bool,
}

type Headers = SmallVec<[BatchHeader; 2]>;

impl Log {
    /// Has an idempotent producer's batch been appended before? Some: there. To be asked under the same lock as the
    /// append; [`Self::append_as_leader`] asks by itself.
    ///
    /// # Errors
    /// [`SequenceError`] if the batch must be refused.
    pub fn check_sequence(&self, header: &BatchHeader) -> Result<Option<ProducerBatch>, SequenceError> {
        self.producers.check(header)
    }

    /// Appends validated batches as leader of `epoch`: all or none, in one write, at the offsets that follow. `now` is
    /// the wall clock.
    ///
    /// # Errors
    /// [`LogError::Sequence`], [`LogError::BatchesTooLarge`], [`LogError::EpochFell`] if a newer leader has been here,
    /// [`LogError::Io`], [`LogError::DiskFailed`].
    pub fn append_as_leader(
        &mut self,
        batches: &[Batch],
        epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Result<Appended, LogError> {
        if let Some(batch) = self.check_sequences(batches)? {
            return Ok(Appended {
                base_offset: batch.base_offset(),
                last_offset: batch.last_offset,
                max_timestamp: batch.timestamp,
                duplicate: true,
                rolled: false,
            });
        }
        let size = batches.iter().map(|batch| batch.size() as u64).sum();
        let limit = self.config.segment_bytes;
        if size > limit {
            return Err(LogError::BatchesTooLarge { size, limit });
        }
        let latest = self.epochs.latest().map_or(epoch, |latest| latest.epoch);
        if epoch < latest {
            return Err(LogError::EpochFell {
                offset: self.log_end,
                latest,
                found: epoch,
            });
        }
        let mut next = self.log_end;
        let mut headers = Headers::with_capacity(batches.len());
        for batch in batches {
            headers.push(BatchHeader {
                base_offset: next,
                leader_epoch: epoch,
                ..batch.header
            });
            next = next.plus(i64::from(batch.header.last_offset_delta) + 1);
        }
        self.write(batches, &headers, now)
    }

    /// Appends a leader's batches as they are. Their checksums have been verified. A prefix may be in the log after an
    /// IO error; the log end tells.
    ///
    /// # Errors
    /// [`LogError::NotContiguous`], [`LogError::EpochFell`] before anything is written; [`LogError::Io`],
    /// [`LogError::DiskFailed`].
    pub fn append_as_follower(&mut self, batches: &[Batch], now: TimestampMs) -> Result<Appended, LogError> {
        if let Some(first) = batches.first() {
            self.adopt_first_batch(&first.header, now)?;
        }
        let mut expected = self.log_end;
        let mut latest = self.last_epoch.unwrap_or(LeaderEpoch(-1));
        let mut headers = Headers::with_capacity(batches.len());
        for batch in batches {
            let header = batch.header;
            let contiguous = if self.config.compact {
                header.base_offset >= expected
            } else {
                header.base_offset == expected
            };
            if !contiguous {
                return Err(LogError::NotContiguous {
                    expected,
                    found: header.base_offset,
                });
            }
            if header.leader_epoch < latest || header.leader_epoch.0 < 0 {
                return Err(LogError::EpochFell {
                    offset: header.base_offset,
                    latest,
                    found: header.leader_epoch,
                });
            }
            (expected, latest) = (header.next_offset(), header.leader_epoch);
            headers.push(header);
        }
        let mut appended = self.nothing_appended();
        let mut from = 0;
        while from < batches.len() {
            let count = self.fitting(&batches[from..]);
            let group = from..from + count;
            let part = self.write(&batches[group.clone()], &headers[group], now)?;
            appended = Appended {
                base_offset: if from == 0 {
                    part.base_offset
                } else {
                    appended.base_offset
                },
                max_timestamp: appended.max_timestamp.max(part.max_timestamp),
                rolled: appended.rolled || part.rolled,
                ..part
            };
            from += count;
        }
        Ok(appended)
    }

    /// True if the next append, of `bytes` with records up to `newest`, would create files: better not on a network
    /// worker. `now` is the wall clock.
    #[must_use]
    pub fn append_creates_files(&self, bytes: u64, newest: TimestampMs, now: TimestampMs) -> bool {
        self.segments
            .last()
            .is_none_or(|active| self.roll_due(active, bytes, newest, self.log_end, now))
    }

    fn check_sequences(&self, batches: &[Batch]) -> Result<Option<ProducerBatch>, SequenceError> {
        if let [batch] = batches {
            return self.producers.check(&batch.header);
        }
        if !batches.iter().any(|batch| batch.header.has_producer()) {
            return Ok(None);
        }
        // Several batches of producers in one append: each follows the ones before it.
        let mut scratch = self.producers.clone();
        for batch in batches {
            if let Some(duplicate) = scratch.check(&batch.header)? {
                return Ok(Some(duplicate));
            }
            scratch.update(&batch.header);
        }
        Ok(None)
    }

    /// An empty follower whose start lies inside the leader's first batch (records were deleted up to there) begins
    /// with that batch.
    fn adopt_first_batch(&mut self, first: &BatchHeader, now: TimestampMs) -> Result<(), LogError> {
        let empty = self.log_start == self.log_end;
        if empty && first.base_offset < self.log_end && self.log_end <= first.last_offset() {
            self.restart_at(first.base_offset, now)?;
        }
        Ok(())
    }

    /// How many of the batches go into one segment together.
    fn fitting(&self, batches: &[Batch]) -> usize {
        let limit = self.config.segment_bytes;
        let free = self
            .segments
            .last()
            .map_or(limit, |active| limit.saturating_sub(active.size));
        let first = batches.first().map_or(0, |batch| batch.size() as u64);
        let room = if first > free { limit } else { free };
        let mut size = 0;
        let fits = |batch: &&Batch| {
            size += batch.size() as u64;
            size <= room
        };
        batches.iter().take_while(fits).count().max(1)
    }

    fn nothing_appended(&self) -> Appended {
        Appended {
            base_offset: self.log_end,
            last_offset: Offset(self.log_end.0 - 1),
            max_timestamp: TimestampMs(-1),
            duplicate: false,
            rolled: false,
        }
    }

    /// Writes batches, whose headers are complete, into one segment.
    fn write(&mut self, batches: &[Batch], headers: &[BatchHeader], now: TimestampMs) -> Result<Appended, LogError> {
        self.log_dir.check()?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Ok(self.nothing_appended());
        };
        let max_timestamp = headers
            .iter()
            .map(|header| header.max_timestamp)
            .max()
            .unwrap_or(TimestampMs(-1));
        let size = headers.iter().map(|header| header.size() as u64).sum();
        let rolled = match self.prepare_segment(size, max_timestamp, last.last_offset(), now) {
            Err(error) if self.log_dir.relieve(&error) => {
                self.prepare_segment(size, max_timestamp, last.last_offset(), now)?
            }
            prepared => prepared?,
        };

        let stamped: SmallVec<[[u8; BATCH_OVERHEAD]; 2]> = headers.iter().map(BatchHeader::to_bytes).collect();
        let mut buffers: SmallVec<[IoSlice<'_>; 4]> = stamped
            .iter()
            .zip(batches)
            .flat_map(|(header, batch)| [IoSlice::new(header), IoSlice::new(&batch.records)])
            .collect();
        let Some(active) = self.segments.last_mut() else {
            return Ok(self.nothing_appended());
        };
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: active.base.0,
        };
        let file = active.append(files, &mut buffers, headers, self.config.index_interval_bytes)?;
        self.dirty.add(&file, false);
        self.dirty.end = true;
        for header in headers {
            self.producers.update(header);
            self.dirty.epochs |= self.epochs.assign(header.leader_epoch, header.base_offset);
        }
        self.log_end = last.next_offset();
        self.last_epoch = Some(last.leader_epoch);
        // The indexes can be rebuilt: that they cannot be written now takes nothing from the append.
        let _ = active.spill_if_due(files);
        Ok(Appended {
            base_offset: first.base_offset,
            last_offset: last.last_offset(),
            max_timestamp,
            duplicate: false,
            rolled,
        })
    }

    /// Makes sure that there is an active segment with room for `size` bytes. True if another one was closed for it.
    fn prepare_segment(
        &mut self,
        size: u64,
        max_timestamp: TimestampMs,
        last_offset: Offset,
        now: TimestampMs,
    ) -> Result<bool, LogError> {
        self.ensure_dir()?;
        let due = self
            .segments
            .last()
            .is_some_and(|active| self.roll_due(active, size, max_timestamp, last_offset, now));
        if due {
            self.roll(now)?;
        } else if self.segments.is_empty() {
            self.add_segment(now)?;
        }
        Ok(due)
    }

    /// Kafka's rule for closing a segment. Time is event time; the wall clock counts only without timestamps.
    fn roll_due(
        &self,
        active: &Segment,
        size: u64,
        max_timestamp: TimestampMs,
        last_offset: Offset,
        now: TimestampMs,
    ) -> bool {
        if active.size == 0 {
            return last_offset.0 - active.base.0 > i64::from(i32::MAX);
        }
        let waited = match active.first_timestamp {
            Some(first) if first.0 >= 0 => max_timestamp.0.saturating_sub(first.0),
            _ => now.0.saturating_sub(active.created.0),
        };
        active.size + size > self.config.segment_bytes
            || waited > self.config.roll_ms(self.topic_id, self.name(), active.base)
            || active.index_full(self.config.segment_index_bytes)
            || last_offset.0 - active.base.0 > i64::from(i32::MAX)
    }

    /// Closes the active segment and begins another one at the log end.
    pub(super) fn roll(&mut self, now: TimestampMs) -> Result<(), LogError> {
        if let Some(active) = self.segments.last_mut() {
            let files = SegmentFiles {
                cache: self.log_dir.files(),
                dir: &self.dir,
                base: active.base.0,
            };
            self.dirty.add_finished(&active.finish(files)?);
        }
        self.write_snapshot()?;
        self.add_segment(now)
    }

    /// Begins a segment at the log end.
    pub(super) fn add_segment(&mut self, now: TimestampMs) -> Result<(), LogError> {
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: self.log_end.0,
        };
        let segment = Segment::create(files, now)?;
        let file: Arc<std::fs::File> = segment.file(files)?;
        self.dirty.add(&file, false);
        self.dirty.dir = true;
        self.segments.push(segment);
        Ok(())
    }
}
