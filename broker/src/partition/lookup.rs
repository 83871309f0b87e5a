//! Finding offsets: by position, by time, by leader epoch.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::{Batch, RecordIter};
use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::{Isolation, Partition, State, leadership_error_code, log_error_code};
use crate::log::{BatchRecords, EpochEnd, LogError, TimestampOffset, UnreadableRecords, find_record};
use crate::records::{self, DecompressError, ReadError};

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// Timestamp of its record, where it was found by that.
    pub timestamp: Option<TimestampMs>,
    /// Leader epoch of its record, or of the leader for the end of the log.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl From<TimestampOffset> for FoundOffset {
    fn from(found: TimestampOffset) -> Self {
        Self {
            offset: found.offset,
            timestamp: Some(found.timestamp),
            leader_epoch: Some(found.leader_epoch),
        }
    }
}

/// Why an offset could not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// A new leader does not know yet what of its log is committed (rule 24).
    NotAvailable,
    /// Kafka's code.
    Refused(ErrorCode),
}

impl From<ErrorCode> for LookupError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

/// Reads records of stored batches for the log.
#[derive(Debug)]
struct StoredRecords {
    /// Largest decompressed size.
    limit: usize,
}

impl BatchRecords for StoredRecords {
    fn visit(
        &self,
        batch: &Batch,
        visit: &mut dyn FnMut(Offset, TimestampMs) -> bool,
    ) -> Result<(), UnreadableRecords> {
        let section = records::records_section(batch, self.limit).map_err(|error| match error {
            ReadError::Decompress(DecompressError::TooLarge { .. }) => UnreadableRecords::TooLarge,
            other => UnreadableRecords::Malformed(other.to_string()),
        })?;
        for record in RecordIter::new(&batch.header, &section) {
            let record = record.map_err(|error| UnreadableRecords::Malformed(error.to_string()))?;
            if !visit(record.offset, record.timestamp) {
                break;
            }
        }
        Ok(())
    }
}

impl Partition {
    /// The first offset of the log.
    ///
    /// # Errors
    /// [`LookupError`]
    pub fn earliest_offset(&self, current_leader_epoch: Option<LeaderEpoch>) -> Result<FoundOffset, LookupError> {
        let state = self.state.lock();
        state
            .replica
            .check_leadership(current_leader_epoch)
            .map_err(leadership_error_code)?;
        let log = state.log()?;
        let offset = log.log_start();
        let first = log.leader_epochs().earliest().filter(|first| first.start <= offset);
        Ok(FoundOffset {
            offset,
            timestamp: None,
            leader_epoch: first.map(|first| first.epoch),
        })
    }

    /// The end of what a reader may see.
    ///
    /// # Errors
    /// [`LookupError`]
    pub fn latest_offset(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        isolation: Isolation,
    ) -> Result<FoundOffset, LookupError> {
        let state = self.state.lock();
        state
            .replica
            .check_leadership(current_leader_epoch)
            .map_err(leadership_error_code)?;
        state.log()?;
        if isolation != Isolation::LogEnd && !state.replica.knows_latest() {
            return Err(LookupError::NotAvailable);
        }
        let offset = state.visible_end(isolation);
        Ok(FoundOffset {
            offset,
            timestamp: None,
            leader_epoch: Some(state.replica.leader_epoch()),
        })
    }

    /// The first record at or after `timestamp`; without one, the first with the largest timestamp of the log. `None` if
    /// there is no such record that the reader may see. Slow: reads records, without the lock.
    ///
    /// # Errors
    /// [`LookupError`]
    pub fn offset_by_time(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        timestamp: Option<TimestampMs>,
        isolation: Isolation,
    ) -> Result<Option<FoundOffset>, LookupError> {
        let (visible, knows_latest, wanted) = {
            let state = self.state.lock();
            state
                .replica
                .check_leadership(current_leader_epoch)
                .map_err(leadership_error_code)?;
            let wanted = timestamp.or(state.log()?.max_timestamp());
            (
                state.visible_end(isolation),
                isolation == Isolation::LogEnd || state.replica.knows_latest(),
                wanted,
            )
        };
        let found = match wanted {
            Some(wanted) => self.find_by_time(wanted)?,
            None => None,
        };
        let found = match found {
            // The record with the largest timestamp was deleted, but not the segment that knows of it; or a header
            // claims more than is there.
            None if timestamp.is_none() && wanted.is_some() => self.search_max_timestamp()?,
            found => found,
        };
        let found = found.filter(|found| found.offset < visible);
        if found.is_none() && !knows_latest {
            return Err(LookupError::NotAvailable);
        }
        Ok(found)
    }

    fn find_by_time(&self, wanted: TimestampMs) -> Result<Option<FoundOffset>, LookupError> {
        let records = self.stored_records();
        let mut from = Offset(0);
        loop {
            let (log_start, batch) = {
                let state = self.state.lock();
                let log = state.log()?;
                (
                    log.log_start(),
                    log.batch_for_timestamp(wanted, from)
                        .map_err(|error| self.lookup_failed(&error))?,
                )
            };
            let Some((header, slice)) = batch else { return Ok(None) };
            let found = find_record(&header, &slice, wanted, log_start, &records);
            if let Some(found) = found.map_err(|error| self.lookup_failed(&error))? {
                return Ok(Some(found.into()));
            }
            from = header.next_offset();
        }
    }

    fn search_max_timestamp(&self) -> Result<Option<FoundOffset>, LookupError> {
        let records = self.stored_records();
        let mut search = self.state.lock().log()?.search_max_timestamp();
        loop {
            let (log_start, segment) = {
                let state = self.state.lock();
                let log = state.log()?;
                (
                    log.log_start(),
                    log.next_for_max_timestamp(&mut search)
                        .map_err(|error| self.lookup_failed(&error))?,
                )
            };
            let Some(segment) = segment else {
                return Ok(search.found().map(FoundOffset::from));
            };
            search
                .look_into(&segment, log_start, &records)
                .map_err(|error| self.lookup_failed(&error))?;
        }
    }

    fn stored_records(&self) -> StoredRecords {
        StoredRecords {
            limit: records::decompressed_limit(self.topic.settings().rules.max_message_bytes),
        }
    }

    fn lookup_failed(&self, error: &LogError) -> LookupError {
        tracing::warn!(topic = %self.topic.name(), partition = %self.index, %error, "cannot look up a timestamp");
        LookupError::Refused(log_error_code(error))
    }

    /// Where the largest epoch that is not above `epoch` ends (rule 32); `None` if none is known.
    ///
    /// # Errors
    /// Kafka's codes: 6, 74, 75, 56.
    pub fn epoch_end(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        epoch: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, ErrorCode> {
        let state = self.state.lock();
        state
            .replica
            .check_leadership(current_leader_epoch)
            .map_err(leadership_error_code)?;
        state.log()?;
        Ok(state.epoch_end(epoch))
    }
}

impl State {
    /// Where the largest epoch that is not above `epoch` ends.
    pub(super) fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let log = self.log().ok()?;
        let found = log.end_offset_for(epoch).map(|found| (found.epoch, found.end));
        let newest = log.leader_epochs().latest().map(|latest| latest.epoch);
        let (epoch, end) = self.replica.epoch_end(epoch, found, newest)?;
        Some(EpochEnd { epoch, end })
    }
}
