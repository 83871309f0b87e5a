//! Appending to a partition as its leader.

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::{Batch, TimestampType};
use highwater_proto::types::{Offset, TimestampMs};
use parking_lot::MutexGuard;

use super::{AckGroup, Partition, State, ack_error_code, is_fatal, log_error_code};
use tokio::time::Instant;

use crate::log::{Appended, FlushOutcome, FlushSlot, FlushTarget, FlushTicket, LogError};
use crate::replica::AckError;

/// Where an append may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precheck {
    /// On a network worker: it is a copy into the page cache.
    Quick,
    /// On a blocking thread: files have to be created.
    CreatesFiles,
}

/// Why a batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The log start, where Kafka's answer carries it.
    pub log_start: Option<Offset>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Offset of the first record; of the original for a duplicate.
    pub base_offset: Offset,
    /// Offset after the last record.
    pub end_offset: Offset,
    /// Time that the broker gave the records; of the original for a duplicate; `None` where records keep their own.
    pub log_append_time: Option<TimestampMs>,
    /// First offset of the log.
    pub log_start: Offset,
    /// The slot in the request's [`AckGroup`], if it asked to wait.
    pub slot: Option<usize>,
}

impl From<ErrorCode> for AppendError {
    fn from(code: ErrorCode) -> Self {
        Self { code, log_start: None }
    }
}

impl Partition {
    /// What can be said before `bytes` of batches, with records up to `newest`, are validated: leadership, min ISR,
    /// storage (rule 4). `now` is the wall clock.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn precheck_append(
        &self,
        acks_all: bool,
        bytes: usize,
        newest: TimestampMs,
        now: TimestampMs,
    ) -> Result<Precheck, AppendError> {
        let state = self.state.lock();
        state.check_append(acks_all)?;
        let creates = state.log()?.append_creates_files(bytes as u64, newest, now);
        Ok(if creates {
            Precheck::CreatesFiles
        } else {
            Precheck::Quick
        })
    }

    /// Appends one validated batch. With `acks` the request waits there until the batch is below the high watermark;
    /// a duplicate waits for the high watermark of its original.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended.
    pub fn append(
        self: &Arc<Self>,
        batch: &Batch,
        acks: Option<&Arc<AckGroup>>,
        now: TimestampMs,
    ) -> Result<AppendOutcome, AppendError> {
        self.append_locked(self.state.lock(), std::slice::from_ref(batch), acks, now)
    }

    /// Appends batches, all or nothing, under the lock that the caller has taken to look at something else first.
    pub(super) fn append_locked(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        batches: &[Batch],
        acks: Option<&Arc<AckGroup>>,
        now: TimestampMs,
    ) -> Result<AppendOutcome, AppendError> {
        state.check_append(acks.is_some())?;
        let epoch = state.replica.leader_epoch();
        let appended = match state.log_mut()?.append_as_leader(batches, epoch, now) {
            Ok(appended) => appended,
            Err(error) => return Err(self.append_failed(state, &error)),
        };
        let end_offset = appended.last_offset.plus(1);
        let log = state.log()?;
        let (log_start, log_end, flushed) = (log.log_start(), log.log_end(), log.flushed_end());
        let unflushed = log_end.get() - log.durable_end().get();
        let flush = log.needs_flush()
            && (!log.caches_writes() || appended.rolled || unflushed >= self.topic.settings().cached_flush.messages);
        let mut woken = smallvec::SmallVec::new();
        if !appended.duplicate {
            let bytes = batches.iter().map(|batch| batch.size() as u64).sum();
            state.appended_bytes += bytes;
            woken = state.log_end_waiters.grown(bytes);
            state.feeds.news();
        }
        let mut effects = state.replica.appended(log_end, flushed);
        let slot = acks.map(|group| {
            let ack = group.ack();
            let slot = ack.slot();
            if let Err(decided) = state.replica.wait(end_offset, ack) {
                effects.completed.push(decided);
            }
            slot
        });
        self.carry_out(state, effects);
        for waiter in woken {
            waiter.wake();
        }
        if flush {
            self.submit_flush();
        }
        let log_append_time = log_append_time(batches, &appended);
        Ok(AppendOutcome {
            base_offset: appended.base_offset,
            end_offset,
            log_append_time,
            log_start,
            slot,
        })
    }

    fn append_failed(&self, state: MutexGuard<'_, State>, error: &LogError) -> AppendError {
        let log_start = match error {
            LogError::Sequence(_) => state.log().ok().map(crate::log::Log::log_start),
            _ => None,
        };
        let code = log_error_code(error);
        if code == ErrorCode::KafkaStorageError {
            self.storage_failed(state, error);
        }
        AppendError { code, log_start }
    }

    /// Logs what the storage refused and takes the replica offline if it cannot be used any more.
    pub(super) fn storage_failed(&self, state: MutexGuard<'_, State>, error: &LogError) {
        if is_fatal(error) {
            self.take_offline(state, error);
        } else {
            let (topic, partition) = (self.topic.name(), self.index);
            tracing::warn!(%topic, %partition, %error, "the storage refused a write; it will be tried again");
        }
    }

    /// Has the log flushed soon.
    pub(super) fn submit_flush(self: &Arc<Self>) {
        let target: Arc<dyn FlushTarget> = Arc::<Self>::clone(self);
        if let Some(flusher) = self.disk.flusher.upgrade() {
            flusher.submit(&target);
        }
    }
}

impl FlushTarget for Partition {
    fn take_ticket(&self) -> Option<FlushTicket> {
        let mut state = self.state.lock();
        if state.ending {
            return None;
        }
        let ticket = state.log_mut().ok()?.take_flush_ticket();
        state.flushing = ticket.as_ref().map(|_| Instant::now());
        ticket
    }

    fn flushed(&self, outcome: FlushOutcome) {
        let mut state = self.state.lock();
        if let Some(started) = state.flushing.take() {
            self.disk.flushes.observe(started.elapsed());
        }
        self.flush_over.notify_all();
        // A failed flush takes all replicas of the disk offline, in another way (`Flusher::start`).
        let Ok(log) = state.log_mut() else { return };
        let _ = log.complete_flush(&outcome);
        let flushed = log.flushed_end();
        self.traced.flushed(flushed);
        let effects = state.replica.flushed(flushed);
        state.settle_flush_wait();
        self.carry_out(state, effects);
    }

    fn trim(&self) {
        if let Ok(log) = self.state.lock().log_mut() {
            log.trim();
        }
    }

    fn flush_slot(&self) -> &FlushSlot {
        &self.flush_slot
    }
}

impl State {
    fn check_append(&self, acks_all: bool) -> Result<(), AppendError> {
        self.check_online()?;
        if let Some(handing_over) = self.handing_over
            && handing_over.leader_epoch == self.replica.leader_epoch()
            && Instant::now() < handing_over.until
        {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        }
        self.replica.check_append(acks_all).map_err(|error| match error {
            // Before the append it is the other of Kafka's two errors, and the answer has the log start (rule 13).
            AckError::NotEnoughReplicas => AppendError {
                code: ErrorCode::NotEnoughReplicas,
                log_start: self.log().ok().map(crate::log::Log::log_start),
            },
            error => ack_error_code(error, false).into(),
        })
    }
}

fn log_append_time(batches: &[Batch], appended: &Appended) -> Option<TimestampMs> {
    let by_broker = batches
        .iter()
        .any(|batch| batch.header.timestamp_type() == TimestampType::LogAppendTime);
    // A duplicate answers with the timestamp of its original, whoever set that (rule 13).
    (by_broker || appended.duplicate).then_some(appended.max_timestamp)
}
