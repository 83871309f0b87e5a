//! What a partition remembers of idempotent producers (KIP-98): the last batches of each, to recognise retries and
//! refuse gaps.

use std::time::Duration;

use hashbrown::HashMap;
use highwater_proto::record::BatchHeader;
use highwater_proto::types::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use smallvec::SmallVec;
use thiserror::Error;

use crate::log::config::millis;

/// Batches remembered per producer; a client has at most this many in flight.
pub const RETAINED_BATCHES: usize = 5;

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER: a batch before this one is missing, or it is an old one again.
    #[error("producer {producer_id} sent sequence {found} where {expected} follows")]
    OutOfOrder {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence that would be accepted.
        expected: i32,
        /// The first sequence of the batch.
        found: i32,
    },
    /// Kafka's INVALID_PRODUCER_EPOCH: a newer instance of the producer has written here.
    #[error("producer {producer_id} has epoch {found}, below {current}")]
    Fenced {
        /// The producer.
        producer_id: ProducerId,
        /// The epoch known here.
        current: ProducerEpoch,
        /// The epoch of the batch.
        found: ProducerEpoch,
    },
}

/// A batch that was appended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Last offset minus base offset.
    pub offset_delta: i32,
    /// Its max timestamp.
    pub timestamp: TimestampMs,
}

impl ProducerBatch {
    fn of(header: &BatchHeader) -> Self {
        Self {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        }
    }

    /// Offset of its first record.
    #[must_use]
    pub const fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - self.offset_delta as i64)
    }

    /// Sequence of its first record. Sequences go on at 0 after 2^31-1.
    #[must_use]
    pub const fn first_sequence(&self) -> i32 {
        ((self.last_sequence as i64 - self.offset_delta as i64) & i32::MAX as i64) as i32
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProducerEntry {
    /// The newest epoch seen.
    pub epoch: ProducerEpoch,
    /// The last batches of that epoch, oldest first.
    pub batches: SmallVec<[ProducerBatch; 1]>,
    /// Event time of its last batch: what it expires by.
    pub last_timestamp: TimestampMs,
    /// Epoch of the coordinator that wrote its last marker; -1 without one.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub txn_first_offset: Option<Offset>,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct ProducerState {
    producers: HashMap<ProducerId, ProducerEntry, foldhash::fast::RandomState>,
    /// End of what the state reflects.
    end: Offset,
}

impl ProducerState {
    /// The state of an empty log that starts at `end`.
    pub(super) fn empty_at(end: Offset) -> Self {
        Self {
            producers: HashMap::default(),
            end,
        }
    }

    /// A state read from a snapshot.
    pub(super) fn from_entries(end: Offset, entries: impl IntoIterator<Item = (ProducerId, ProducerEntry)>) -> Self {
        Self {
            producers: entries.into_iter().collect(),
            end,
        }
    }

    /// End of the batches that the state reflects.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// The producers, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// Number of producers.
    pub(super) fn len(&self) -> usize {
        self.producers.len()
    }

    /// May a client's batch be appended? Some: it has been appended already, there.
    pub(super) fn check(&self, header: &BatchHeader) -> Result<Option<ProducerBatch>, SequenceError> {
        if !header.has_producer() {
            return Ok(None);
        }
        let producer_id = header.producer_id;
        // Without state (expired, records deleted, new partition) any sequence may come first.
        let Some(entry) = self.producers.get(&producer_id) else {
            return Ok(None);
        };
        if header.producer_epoch < entry.epoch {
            let (current, found) = (entry.epoch, header.producer_epoch);
            return Err(SequenceError::Fenced {
                producer_id,
                current,
                found,
            });
        }
        if header.is_control() {
            return Ok(None);
        }
        let found = header.base_sequence;
        let last = entry.batches.last().filter(|_| header.producer_epoch == entry.epoch);
        let same =
            |batch: &&ProducerBatch| batch.first_sequence() == found && batch.last_sequence == header.last_sequence();
        if last.is_some()
            && let Some(duplicate) = entry.batches.iter().find(same)
        {
            return Ok(Some(*duplicate));
        }
        // A new epoch starts at 0, and so does one that a marker brought.
        let expected = last.map_or(0, |batch| {
            if batch.last_sequence == i32::MAX {
                0
            } else {
                batch.last_sequence + 1
            }
        });
        if found == expected {
            Ok(None)
        } else {
            Err(SequenceError::OutOfOrder {
                producer_id,
                expected,
                found,
            })
        }
    }

    /// Takes note of a batch that is in the log now.
    pub(super) fn update(&mut self, header: &BatchHeader) {
        self.end = header.next_offset();
        if !header.has_producer() {
            return;
        }
        let entry = self
            .producers
            .entry(header.producer_id)
            .or_insert_with(|| ProducerEntry {
                epoch: header.producer_epoch,
                batches: SmallVec::new(),
                last_timestamp: header.max_timestamp,
                coordinator_epoch: -1,
                txn_first_offset: None,
            });
        if header.producer_epoch != entry.epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.last_timestamp = header.max_timestamp;
        if header.is_control() {
            entry.txn_first_offset = None;
            return;
        }
        if entry.batches.len() == RETAINED_BATCHES {
            entry.batches.remove(0);
        }
        entry.batches.push(ProducerBatch::of(header));
        if header.is_transactional() && entry.txn_first_offset.is_none() {
            entry.txn_first_offset = Some(header.base_offset);
        }
    }

    /// Forgets producers whose last batch is too old by its own timestamp, unless a transaction is open.
    pub(super) fn expire(&mut self, now: TimestampMs, after: Duration) {
        let after = millis(after);
        self.producers.retain(|_, entry| {
            entry.txn_first_offset.is_some() || now.0.saturating_sub(entry.last_timestamp.0) < after
        });
        if self.producers.is_empty() {
            self.producers.shrink_to_fit();
        }
    }

    /// The log goes on at `end` although no batch ends there (it was emptied, or restarted further up).
    pub(super) fn set_end(&mut self, end: Offset) {
        self.end = end;
    }
}
