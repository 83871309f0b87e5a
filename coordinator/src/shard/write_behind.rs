//! Group commit: while one append is on its way, everything that is decided waits for the next.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::BatchBuilder;
use highwater_proto::types::{Offset, TimestampMs};

use super::action::{Action, Failure};
use super::machine::Shard;
use super::take_over::Phase;
use crate::group::{Now, Record};

/// Bytes of records that one append takes along.
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;
/// Pause before an append that the leader refused for the moment is tried again.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Records on their way into the log.
#[derive(Debug, Default)]
pub(super) struct WriteBehind {
    /// Decided and not sent; each element all or nothing.
    buffer: VecDeque<Vec<Record>>,
    buffered_bytes: usize,
    in_flight: Option<InFlight>,
    /// Everything below is below the high watermark.
    durable_end: Offset,
}

#[derive(Debug)]
struct InFlight {
    batches: Bytes,
    end: Offset,
    check: u64,
    refused_since: Option<Duration>,
    retry_at: Option<Duration>,
}

impl WriteBehind {
    pub(super) fn push(&mut self, records: Vec<Record>) {
        self.buffered_bytes += size_of(&records);
        self.buffer.push_back(records);
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    pub(super) fn durable_end(&self) -> Offset {
        self.durable_end
    }

    pub(super) fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.in_flight.is_none()
    }

    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.in_flight.as_ref()?.retry_at
    }

    /// The whole log below `end` has been read and is below the high watermark.
    pub(super) fn loaded(&mut self, end: Offset) {
        self.durable_end = end;
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes from the buffer what one append can carry.
    fn take(&mut self, max_batch_bytes: usize, now: TimestampMs) -> Option<(Bytes, i64)> {
        let mut batches = BytesMut::new();
        let mut count = 0;
        let mut builder = BatchBuilder::new();
        while let Some(records) = self.buffer.front() {
            let size = size_of(records);
            if count > 0 && batches.len() + builder.size() + size > MAX_APPEND_BYTES {
                break;
            }
            if !builder.is_empty() && builder.size() + size > max_batch_bytes {
                seal(std::mem::take(&mut builder), &mut batches)?;
            }
            for record in records {
                builder
                    .append(now, Some(&record.key), record.value.as_deref(), &[])
                    .ok()?;
            }
            count += records.len() as i64;
            self.buffered_bytes -= size;
            self.buffer.pop_front();
        }
        if !builder.is_empty() {
            seal(builder, &mut batches)?;
        }
        (count > 0).then(|| (batches.freeze(), count))
    }
}

fn size_of(records: &[Record]) -> usize {
    records.iter().map(Record::size).sum()
}

fn seal(builder: BatchBuilder, batches: &mut BytesMut) -> Option<()> {
    builder.build().ok()?.put(batches);
    Some(())
}

impl Shard {
    /// Sends what has been decided, unless an append is under way.
    pub(super) fn start_append(&mut self, now: Now) {
        let Phase::Serving { leader_epoch } = self.take_over.phase else {
            return;
        };
        let Some(assignment) = self.assignment else { return };
        let expected_end = self.writes.durable_end;
        let batches = match &mut self.writes.in_flight {
            Some(in_flight) => match in_flight.retry_at {
                Some(retry_at) if retry_at <= now.monotonic => {
                    in_flight.retry_at = None;
                    in_flight.batches.clone()
                }
                _ => return,
            },
            None if self.writes.buffer.is_empty() => return,
            None => {
                let Some((batches, count)) = self.writes.take(self.config.group.max_append_bytes, now.wall) else {
                    // Records are bounded one by one before they are applied: this is a broken invariant.
                    return self.restart(ErrorCode::UnknownServerError, now);
                };
                let check = self.replies.start_check();
                self.writes.in_flight = Some(InFlight {
                    batches: batches.clone(),
                    end: expected_end.plus(count),
                    check,
                    refused_since: None,
                    retry_at: None,
                });
                batches
            }
        };
        self.actions.push_back(Action::Append {
            attempt: self.take_over.attempt,
            coordinator_epoch: assignment.coordinator_epoch,
            leader_epoch,
            expected_end,
            batches,
        });
    }

    /// What became of an append. If nobody knows, or the log is not what it was thought to be, the shard is taken over
    /// again rather than guessed about.
    pub fn appended(&mut self, attempt: u64, result: Result<Offset, Failure>, now: Now) {
        if attempt != self.take_over.attempt || !self.is_serving() {
            return;
        }
        let Some(in_flight) = &mut self.writes.in_flight else {
            return;
        };
        match result {
            Ok(end) if end == in_flight.end => {
                let check = in_flight.check;
                self.writes.durable_end = end;
                self.writes.in_flight = None;
                self.replies.check_passed(check);
            }
            Ok(_) => return self.restart(ErrorCode::NotCoordinator, now),
            Err(Failure::Refused(ErrorCode::NotEnoughReplicas)) => {
                // Nothing was appended, and replicas come back: the same append again, for as long as a write may take.
                let since = *in_flight.refused_since.get_or_insert(now.monotonic);
                if now.monotonic.saturating_sub(since) >= self.config.commit_timeout {
                    return self.restart(ErrorCode::CoordinatorNotAvailable, now);
                }
                in_flight.retry_at = Some(now.monotonic + REFUSED_PAUSE);
            }
            Err(failure) => return self.restart(failure.for_client(), now),
        }
        self.pump(now);
    }
}
