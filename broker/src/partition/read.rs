//! Reading from a partition: what Fetch needs of one.

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, Offset};

use super::{FetchWaiter, Partition, State, leadership_error_code, log_error_code};
use crate::log::{EpochEnd, FileSlice, Log, LogError};
use crate::replica::FollowerFetch;

/// Up to where a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Consumers: up to the high watermark.
    ReadUncommitted,
    /// Consumers of committed transactions: up to the last stable offset.
    ReadCommitted,
    /// Followers: up to the log end.
    LogEnd,
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// The leader epoch that the reader knows.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// First offset wanted.
    pub offset: Offset,
    /// Epoch of the last record that the reader has: finds out whether its log went another way.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Most bytes wanted.
    pub max_bytes: u64,
    /// The first batch is wanted even if it is larger.
    pub at_least_one: bool,
    /// Up to where it may see.
    pub isolation: Isolation,
    /// The follower that reads.
    pub follower: Option<FollowerFetch>,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// Offset up to which consumers may read.
    pub high_watermark: Offset,
    /// Offset up to which all transactions are decided.
    pub last_stable: Offset,
    /// First offset of the log.
    pub log_start: Offset,
    /// Whole batches, if there are any.
    pub records: Option<FileSlice>,
    /// Where the reader's log left ours, if it did: then there are no records.
    pub diverging: Option<EpochEnd>,
    /// Waiting would bring nothing more: the next batches are in another segment.
    pub complete: bool,
}

impl ReadOutcome {
    /// Bytes of the records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.records.as_ref().map_or(0, |records| records.len)
    }
}

impl Partition {
    /// Reads as the leader. A `waiter` is registered before anything is looked at, so that it misses nothing.
    ///
    /// # Errors
    /// Kafka's codes: 6, 74, 75, 1, 56.
    pub fn read(&self, request: &ReadRequest, waiter: Option<&Arc<FetchWaiter>>) -> Result<ReadOutcome, ErrorCode> {
        let mut state = self.state.lock();
        state.replica.check_leadership(request.current_leader_epoch).map_err(leadership_error_code)?;
        let log = state.log()?;
        if let Some(epoch) = request.last_fetched_epoch
            && let Some(diverging) = state.divergence(epoch, request.offset)?
        {
            return Ok(ReadOutcome { diverging: Some(diverging), complete: true, ..state.outcome(log) });
        }
        let in_range = request.offset >= log.log_start() && request.offset <= log.log_end();
        if let Some(fetch) = request.follower {
            if !in_range {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            let effects = state.replica.follower_fetched(fetch).map_err(leadership_error_code)?;
            self.carry_out(state, effects);
            state = self.state.lock();
        }
        if let Some(waiter) = waiter {
            match request.isolation {
                Isolation::LogEnd => state.log_end_waiters.register(waiter),
                _ => state.waiters.register(waiter),
            }
        }
        match state.read(request) {
            Ok(outcome) => Ok(outcome),
            Err(LogError::OffsetOutOfRange { .. }) => Err(ErrorCode::OffsetOutOfRange),
            Err(error) => {
                self.read_failed(state, &error);
                Err(log_error_code(&error))
            }
        }
    }
}

impl State {
    fn outcome(&self, log: &Log) -> ReadOutcome {
        ReadOutcome {
            high_watermark: self.replica.high_watermark(),
            last_stable: self.replica.last_stable_offset(None),
            log_start: log.log_start(),
            records: None,
            diverging: None,
            complete: false,
        }
    }

    /// Rule 33: where the log of a reader whose last record has `epoch` left ours, if it did before `offset`.
    fn divergence(&self, epoch: LeaderEpoch, offset: Offset) -> Result<Option<EpochEnd>, ErrorCode> {
        let end = self.epoch_end(epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
        if offset < self.log()?.log_start() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok((end.epoch < epoch || end.end < offset).then_some(end))
    }

    /// The end of what such a reader may see.
    pub(super) fn visible_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.replica.high_watermark(),
            Isolation::ReadCommitted => self.replica.last_stable_offset(None),
            Isolation::LogEnd => self.replica.log().end,
        }
    }

    fn read(&self, request: &ReadRequest) -> Result<ReadOutcome, LogError> {
        let Ok(log) = self.log() else {
            return Err(LogError::OffsetOutOfRange {
                offset: request.offset,
                log_start: self.replica.log().start,
                log_end: self.replica.log().end,
            });
        };
        let visible = self.visible_end(request.isolation);
        let records = log.read(request.offset, request.max_bytes, visible, request.at_least_one)?;
        let complete = request.offset < log.active_base() && visible > log.active_base();
        Ok(ReadOutcome { records, complete, ..self.outcome(log) })
    }
}
