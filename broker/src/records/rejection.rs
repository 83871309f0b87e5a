//! Why a produced batch is refused, as a value that Produce turns into its answer.

use highwater_proto::kafka::ErrorCode;
use highwater_proto::record::HeaderError;
use highwater_proto::types::{NodeId, Offset, TimestampMs};
use thiserror::Error;

use crate::records::compression::{CompressError, DecompressError};
use crate::records::read::ReadError;

/// How many bad records of one batch are listed. A batch can hold so many small ones that listing them all would make
/// the answer many times larger than the request.
pub const MAX_RECORD_FAULTS: usize = 10_000;

/// One bad record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// Position of the record in its batch, from 0.
    pub index: i32,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// A compacted topic would never know what to keep.
    #[error("Compacted topic cannot accept message without key.")]
    MissingKey,
    /// Outside of `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    #[error("Timestamp {timestamp} is out of range. The timestamp should be within [{earliest}, {latest}].")]
    Timestamp {
        /// What the record says.
        timestamp: TimestampMs,
        /// The oldest that is accepted now.
        earliest: TimestampMs,
        /// The newest that is accepted now.
        latest: TimestampMs,
    },
}

/// Why a batch is refused. The text is what the client gets as `error_message`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// No whole batch in the request.
    #[error("The partition has no whole record batch.")]
    NoBatch,
    /// More than one.
    #[error("Only one record batch per partition is allowed.")]
    ManyBatches,
    /// Message format 0 or 1.
    #[error("Only record batches with magic version 2 are allowed, not {0}.")]
    OldFormat(i8),
    /// A header that no client writes.
    #[error("The record batch is corrupt: {0}.")]
    CorruptHeader(HeaderError),
    /// The checksum does not match.
    #[error("The record batch is corrupt: its checksum is {stored:#010x}, not {computed:#010x}.")]
    Checksum {
        /// In the header.
        stored: u32,
        /// Of the bytes that arrived.
        computed: u32,
    },
    /// zstd by a client that speaks a version from before it.
    #[error("Produce requests with version {0} are not allowed to use zstd compression.")]
    ZstdTooOld(i16),
    /// Codec bits 5 to 7.
    #[error("Compression codec {0} does not exist.")]
    UnknownCodec(u8),
    /// Offsets are the leader's to give.
    #[error("The base offset of the record batch should be 0, but it is {0}.")]
    BaseOffset(Offset),
    /// Larger than `max.message.bytes`, as sent or after recompression.
    #[error("The record batch has {size} bytes, which exceeds the maximum configured value of {limit}.")]
    TooLarge {
        /// Of the batch, in bytes.
        size: usize,
        /// `max.message.bytes`.
        limit: usize,
    },
    /// The records, or one of them, are larger than may be when decompressed.
    #[error("The records are larger than {limit} bytes when decompressed.")]
    DecompressedTooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// Last offset delta and count do not agree, or there is no record.
    #[error("The record batch has {count} records for offsets 0 to {last_offset_delta}.")]
    OffsetRange {
        /// Declared number of records.
        count: i32,
        /// Declared last offset.
        last_offset_delta: i32,
    },
    /// Only brokers and coordinators write markers.
    #[error("Clients are not allowed to write control records.")]
    ControlBatch,
    /// A producer id without a sequence.
    #[error("Invalid sequence number {sequence} in record batch with producer id {producer_id}.")]
    Sequence {
        /// Base sequence.
        sequence: i32,
        /// Producer id.
        producer_id: i64,
    },
    /// The client set the attribute that is the leader's.
    #[error("Invalid timestamp type. Producer should not set timestamp type to LogAppendTime.")]
    LogAppendTime,
    /// The header's max timestamp is out of bounds.
    #[error("The record batch's {0}")]
    BatchTimestamp(FaultKind),
    /// The records section is not what the header says.
    #[error("The records are malformed: {0}.")]
    Malformed(String),
    /// Some records are bad; the whole batch is refused.
    #[error("{}", records_message(faults, *total))]
    Records {
        /// The bad records, the first [`MAX_RECORD_FAULTS`] of them.
        faults: Vec<RecordFault>,
        /// How many bad records there are.
        total: usize,
    },
    /// The disk of a broker that holds the partition has only its reserve left.
    #[error("The disk of broker {0} is full but for its reserve; records are taken again when there is room.")]
    DiskFull(NodeId),
    /// The topic's codec failed on our side.
    #[error("{0}")]
    Recompression(CompressError),
}

impl Rejection {
    /// The protocol's error code.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::CorruptHeader(_) | Self::Checksum { .. } => ErrorCode::CorruptMessage,
            Self::ZstdTooOld(_) | Self::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
            Self::TooLarge { .. } | Self::DecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::LogAppendTime | Self::BatchTimestamp(_) => ErrorCode::InvalidTimestamp,
            Self::Records { faults, .. } if has_timestamp_fault(faults) => ErrorCode::InvalidTimestamp,
            Self::Recompression(_) => ErrorCode::UnknownServerError,
            Self::DiskFull(_) => ErrorCode::KafkaStorageError,
            Self::NoBatch
            | Self::ManyBatches
            | Self::OldFormat(_)
            | Self::BaseOffset(_)
            | Self::OffsetRange { .. }
            | Self::ControlBatch
            | Self::Sequence { .. }
            | Self::Malformed(_)
            | Self::Records { .. } => ErrorCode::InvalidRecord,
        }
    }

    /// The bad records, for `record_errors`; empty where the batch as a whole is at fault.
    #[must_use]
    pub fn record_faults(&self) -> &[RecordFault] {
        match self {
            Self::Records { faults, .. } => faults,
            _ => &[],
        }
    }

    /// True for refusals that the log raises after the checksum was found right: the answer then carries the log
    /// start offset.
    #[must_use]
    pub fn is_about_records(&self) -> bool {
        matches!(
            self,
            Self::OffsetRange { .. }
                | Self::ControlBatch
                | Self::Sequence { .. }
                | Self::LogAppendTime
                | Self::BatchTimestamp(_)
                | Self::Malformed(_)
                | Self::Records { .. }
        )
    }
}

impl From<ReadError> for Rejection {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownCodec(code) => Self::UnknownCodec(code),
            ReadError::Decompress(DecompressError::TooLarge { limit }) => Self::DecompressedTooLarge { limit },
            ReadError::Decompress(error @ DecompressError::Malformed { .. }) => Self::Malformed(error.to_string()),
            ReadError::Record(error) => Self::Malformed(error.to_string()),
        }
    }
}

/// A bad timestamp decides over bad keys.
fn has_timestamp_fault(faults: &[RecordFault]) -> bool {
    faults.iter().any(|f| matches!(f.kind, FaultKind::Timestamp { .. }))
}

fn records_message(faults: &[RecordFault], total: usize) -> String {
    if has_timestamp_fault(faults) {
        return "One or more records have been rejected due to invalid timestamp".to_owned();
    }
    let first: Vec<String> = faults
        .iter()
        .take(3)
        .map(|f| format!("RecordError(batchIndex={}, message='{}')", f.index, f.kind))
        .collect();
    format!(
        "One or more records have been rejected due to {total} record errors in total, and only showing the first \
         three errors at most: [{}]",
        first.join(", ")
    )
}
