//! What happens to a partition besides requests: assignment, configuration, housekeeping, its end.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::metadata;
use highwater_proto::types::{NodeId, Offset, PartitionEpoch, TimestampMs};

use super::{FetchWaiter, Partition, State, Storage, is_fatal};
use crate::log::{Log, LogError, RetiredSegments};
use crate::replica::{AckError, BrokerView, IsrAnswer, LogEnds};

/// A flush that takes longer has been given up by whoever carried it out.
const MAX_FLUSH_WAIT: Duration = Duration::from_secs(30);

impl Partition {
    /// Takes over what the image says of the partition.
    pub fn assign(
        &self,
        partition: &metadata::Partition,
        brokers: impl Fn(NodeId) -> Option<BrokerView>,
        now: Duration,
    ) {
        let mut state = self.state.lock();
        let before = (state.replica.is_leader(), state.replica.leader_epoch());
        let members = state.replica.isr().len();
        let effects = state.replica.assign(partition, brokers, now);
        let changed = before != (state.replica.is_leader(), state.replica.leader_epoch());
        if changed && before.0 {
            // What becomes of those appends is for the next leader to tell.
            self.traced.clear();
        }
        // Whoever waits here has to look for the leader again, or to be refused for its old epoch.
        let waiters = if changed { state.take_waiters() } else { Vec::new() };
        if changed {
            state.flush_awaited = None;
        } else {
            self.reports.isr_changed(members, state.replica.isr().len());
        }
        self.carry_out(state, effects);
        waiters.iter().for_each(|waiter| waiter.wake());
    }

    /// The controller answered the proposal that was made on `base`.
    pub fn isr_answered(&self, base: PartitionEpoch, answer: IsrAnswer) {
        let mut state = self.state.lock();
        let before = state.replica.isr().len();
        let effects = state.replica.isr_answered(base, answer);
        self.reports.isr_changed(before, state.replica.isr().len());
        self.carry_out(state, effects);
    }

    /// Takes over the topic's configuration, which [`super::TopicState`] has already.
    pub fn configure(self: &Arc<Self>) {
        let settings = Arc::clone(&self.topic.settings());
        let mut state = self.state.lock();
        let Ok(log) = state.log_mut() else { return };
        log.set_config(Arc::clone(&settings.log));
        let needs_flush = log.needs_flush() && !log.caches_writes();
        let flushed = log.flushed_end();
        let mut effects = state.replica.reconfigure(settings.replica);
        // With write caching turned on or off, another end counts as flushed.
        effects.append(state.replica.flushed_end_is(flushed));
        self.carry_out(state, effects);
        if needs_flush {
            self.submit_flush();
        }
    }

    /// True if `write.caching` is on but not yet on record in the data directory, which has to come first.
    #[must_use]
    pub fn awaits_write_caching(&self) -> bool {
        self.state.lock().log().is_ok_and(Log::awaits_write_caching)
    }

    /// `write.caching` is on record: what is in the page cache counts from now on.
    pub fn write_caching_is_noted(&self) {
        let mut state = self.state.lock();
        let Ok(log) = state.log_mut() else { return };
        log.write_caching_is_noted();
        let flushed = log.flushed_end();
        let effects = state.replica.flushed_end_is(flushed);
        state.settle_flush_wait();
        self.carry_out(state, effects);
    }

    /// Has all that is not on disk yet flushed soon. What recovery found counts from then on.
    pub fn flush_all(self: &Arc<Self>) {
        if self.state.lock().log().is_ok_and(Log::needs_flush) {
            self.submit_flush();
        }
    }

    /// Flushes cached writes that have waited for `flush.ms`.
    pub fn flush_if_due(self: &Arc<Self>, now: Duration) {
        let interval = self.topic.settings().cached_flush.interval;
        let mut state = self.state.lock();
        if !state.log().is_ok_and(Log::needs_flush) {
            state.unflushed_since = None;
            return;
        }
        let since = *state.unflushed_since.get_or_insert(now);
        if now.saturating_sub(since) >= interval {
            state.unflushed_since = None;
            drop(state);
            self.submit_flush();
        }
    }

    /// Housekeeping of the replica: forgets requests that were answered at their timeout.
    pub fn tick(&self, now: Duration) {
        let mut state = self.state.lock();
        state.replica.retain_waiting(|ack| !ack.is_abandoned());
        let effects = state.replica.tick(now);
        self.carry_out(state, effects);
    }

    /// Forgets idempotent producers that have been silent for `producer.id.expiration.ms`.
    pub fn expire_producers(&self, now: TimestampMs) {
        if let Ok(log) = self.state.lock().log_mut() {
            log.expire_producers(now);
        }
    }

    /// Takes segments out of the log that retention no longer keeps; may create files. Their files stay until
    /// [`crate::log::set_segments_aside`] and [`crate::log::remove_segments`].
    pub fn retention(self: &Arc<Self>, now: TimestampMs) -> Option<RetiredSegments> {
        let mut state = self.state.lock();
        let high_watermark = state.replica.high_watermark();
        let retired = match state.log_mut().ok()?.retention(now, high_watermark) {
            Ok(retired) => retired,
            Err(error) => {
                self.storage_failed(state, &error);
                return None;
            }
        };
        if retired.is_empty() {
            return None;
        }
        self.log_start_moved(state);
        self.submit_flush();
        Some(retired)
    }

    /// Makes `offset` (`None`: the high watermark) the first that may be read (`DeleteRecords`) here; that offset.
    /// Followers do the same with their next fetch.
    ///
    /// # Errors
    /// Kafka's codes: not the leader, out of range, storage.
    pub fn delete_records(
        self: &Arc<Self>,
        offset: Option<Offset>,
    ) -> Result<Offset, highwater_proto::kafka::ErrorCode> {
        use highwater_proto::kafka::ErrorCode;
        let mut state = self.state.lock();
        state
            .replica
            .check_leadership(None)
            .map_err(super::leadership_error_code)?;
        let high_watermark = state.replica.high_watermark();
        let offset = offset.unwrap_or(high_watermark);
        if offset > high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let log = state.log_mut()?;
        let moved = log
            .raise_log_start(offset)
            .map_err(|error| super::log_error_code(&error))?;
        if moved {
            // Followers that wait for records learn of it at once.
            let waiters = state.log_end_waiters.take_all();
            state.feeds.news();
            self.log_start_moved(state);
            waiters.iter().for_each(|waiter| waiter.wake());
            self.submit_flush();
        }
        Ok(offset)
    }

    /// The least log start of all live replicas. With a waiter, that is registered if `target` is not reached yet: it is
    /// woken when it may be.
    ///
    /// # Errors
    /// Kafka's codes: not the leader, storage.
    pub fn low_watermark(
        &self,
        target: Offset,
        waiter: Option<&Arc<FetchWaiter>>,
    ) -> Result<Offset, highwater_proto::kafka::ErrorCode> {
        let mut state = self.state.lock();
        state
            .replica
            .check_leadership(None)
            .map_err(super::leadership_error_code)?;
        state.log()?;
        let low = state.replica.low_watermark().unwrap_or_default();
        if let Some(waiter) = waiter.filter(|_| low < target) {
            state.low_watermark_waiters.register(waiter);
        }
        Ok(low)
    }

    fn log_start_moved(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let Ok(start) = state.log().map(Log::log_start) else {
            return;
        };
        let effects = state.replica.log_start_moved(start);
        self.carry_out(state, effects);
    }

    /// The partition is no longer here: what waits is answered, and its log is handed out to be deleted, or `None` if the
    /// storage had failed. Waits for a flush that is under way.
    pub fn end(&self, error: AckError) -> Option<Log> {
        let mut state = self.state.lock();
        let effects = state.replica.stop(error);
        self.traced.clear();
        // A flush that met a renamed directory would take the disk for broken.
        state.ending = true;
        state.flush_awaited = None;
        while state.flushing.is_some() {
            if self.flush_over.wait_for(&mut state, MAX_FLUSH_WAIT).timed_out() {
                break;
            }
        }
        let storage = std::mem::replace(&mut state.storage, Storage::Gone);
        let waiters = state.take_waiters();
        self.carry_out(state, effects);
        waiters.iter().for_each(|waiter| waiter.wake());
        match storage {
            Storage::Online(log) => Some(*log),
            Storage::Failed { .. } | Storage::Gone => None,
        }
    }

    /// The disk failed.
    pub fn fail_storage(&self) {
        self.fail(self.state.lock(), false);
    }

    /// Takes the replica offline, whatever the error. What is wrong may be one file only: as long as the disk has not
    /// failed as a whole, the replica may be copied from its leader again.
    pub(super) fn take_offline(&self, state: parking_lot::MutexGuard<'_, State>, error: &LogError) {
        tracing::error!(topic = %self.topic.name(), partition = %self.index, %error, "replica is offline");
        self.fail(state, !matches!(error, LogError::DiskFailed { .. }));
    }

    fn fail(&self, mut state: parking_lot::MutexGuard<'_, State>, repairable: bool) {
        let (effects, waiters) = state.fail(repairable);
        self.traced.clear();
        self.reports.offline(self.key());
        self.carry_out(state, effects);
        waiters.iter().for_each(|waiter| waiter.wake());
    }

    /// Closes the log so that the next start needs no scan. Slow; nothing is appended afterwards.
    ///
    /// # Errors
    /// [`LogError`]: the disk must not be marked clean.
    pub fn close_clean(&self) -> Result<(), LogError> {
        let Some(mut log) = self.end(AckError::NotLeader) else {
            return Ok(());
        };
        log.close_clean()
    }

    /// What an error met while reading means for the replica.
    pub(super) fn read_failed(&self, state: parking_lot::MutexGuard<'_, State>, error: &LogError) {
        if is_fatal(error) {
            self.storage_failed(state, error);
        } else {
            tracing::warn!(topic = %self.topic.name(), partition = %self.index, %error, "cannot read the log");
        }
    }
}

/// The ends of a log as the replica counts them.
pub(super) fn ends(log: &Log) -> LogEnds {
    LogEnds {
        start: log.log_start(),
        end: log.log_end(),
        flushed: log.flushed_end(),
    }
}
