//! Builds uncompressed batches: internal topics, markers, tests.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use crate::record::batch::Batch;
use crate::record::control::EndTxnMarker;
use crate::record::header::{
    Attributes, BatchHeader, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
use crate::record::varint::{put_varint, put_varlong, varint_size, varlong_size};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

/// Why a record does not go into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Lengths in a batch are 32-bit integers.
    #[error("a batch cannot hold {0} bytes")]
    TooLarge(usize),
    /// A batch without records cannot be stored.
    #[error("the batch has no records")]
    Empty,
}

/// Collects records into one uncompressed batch with offsets without gaps.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    records: BytesMut,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch at offset 0 without producer and leader epoch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: BatchHeader {
                base_offset: Offset(0),
                batch_length: 0,
                leader_epoch: LeaderEpoch(-1),
                crc: 0,
                attributes: Attributes(0),
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                base_sequence: NO_SEQUENCE,
                record_count: 0,
            },
            records: BytesMut::new(),
        }
    }

    /// Sets the offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.header.base_offset = offset;
        self
    }

    /// Sets the epoch of the leader that appends.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    /// Sets the producer and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    /// Sets what the timestamps mean.
    #[must_use]
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.header.attributes = self.header.attributes.with_timestamp_type(timestamp_type);
        self
    }

    /// A batch that ends a transaction on a partition: one marker, no sequence.
    #[must_use]
    pub fn end_txn(marker: EndTxnMarker, id: ProducerId, epoch: ProducerEpoch, now: TimestampMs) -> Batch {
        let mut builder = Self::new().producer(id, epoch, NO_SEQUENCE).transactional();
        builder.header.attributes = builder.header.attributes.with_control(true);
        builder.put(now, Some(&marker.key()), Some(&marker.value()), &[]);
        Batch::seal(builder.header, builder.records.freeze())
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`] if the batch would not fit the length field; it is then as before.
    pub fn append(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<&mut Self, BuildError> {
        let payload = key.map_or(0, <[u8]>::len)
            + value.map_or(0, <[u8]>::len)
            + headers
                .iter()
                .map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len) + 10)
                .sum::<usize>();
        let size = self.size() + payload + MAX_RECORD_OVERHEAD;
        if size > i32::MAX as usize {
            return Err(BuildError::TooLarge(size));
        }
        self.put(timestamp, key, value, headers);
        Ok(self)
    }

    fn put(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.header.record_count == 0 {
            self.header.base_timestamp = timestamp;
            self.header.max_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.0.wrapping_sub(self.header.base_timestamp.0);
        let offset_delta = self.header.record_count;
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        self.header.last_offset_delta = offset_delta;
        self.header.record_count += 1;

        let body = 1
            + varlong_size(timestamp_delta)
            + varint_size(offset_delta)
            + nullable_size(key)
            + nullable_size(value)
            + varint_size(headers.len() as i32)
            + headers
                .iter()
                .map(|(k, v)| nullable_size(Some(k)) + nullable_size(*v))
                .sum::<usize>();
        let buf = &mut self.records;
        buf.reserve(body + 5);
        put_varint(buf, body as i32);
        buf.put_u8(0);
        put_varlong(buf, timestamp_delta);
        put_varint(buf, offset_delta);
        put_nullable(buf, key);
        put_nullable(buf, value);
        put_varint(buf, headers.len() as i32);
        for (key, value) in headers {
            put_nullable(buf, Some(key));
            put_nullable(buf, *value);
        }
    }

    /// Number of records so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.header.record_count as usize
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Bytes of the batch so far.
    #[must_use]
    pub fn size(&self) -> usize {
        super::BATCH_OVERHEAD + self.records.len()
    }

    /// Upper bound of the batch's bytes if a record without headers were added.
    #[must_use]
    pub fn size_with(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
        self.size() + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + MAX_RECORD_OVERHEAD
    }

    /// The finished batch.
    ///
    /// # Errors
    /// [`BuildError::Empty`] without records.
    pub fn build(self) -> Result<Batch, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        Ok(Batch::seal(self.header, self.records.freeze()))
    }
}

/// Lengths and deltas of a record without headers at their longest: five varints of 5, one of 10, attributes.
const MAX_RECORD_OVERHEAD: usize = 36;

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varint_size(b.len() as i32) + b.len())
}

fn put_nullable(buf: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(buf, -1),
        Some(bytes) => {
            put_varint(buf, bytes.len() as i32);
            buf.put_slice(bytes);
        }
    }
}
