//! Record batches in Kafka's format, magic 2: the unit that producers send, the log stores and consumers fetch.
//!
//! A batch is a header of [`BATCH_OVERHEAD`] bytes and a records section, which is compressed or not. The header alone
//! decides what a broker does with a batch; records are read only where their contents matter (internal topics,
//! compaction, lookup by time). Everything here is pure, borrows from its input and never trusts a length.

mod batch;
mod builder;
mod control;
mod crc;
mod header;
mod records;
mod varint;

pub use batch::{Batch, Batches};
pub use builder::{BatchBuilder, BuildError};
pub use control::{CONTROL_KEY_SIZE, EndTxnMarker, MarkerError, TxnResult};
pub use crc::{crc32c, crc32c_joined};
pub use header::{
    Attributes, BATCH_OVERHEAD, BatchHeader, CRC_START, Compression, HeaderError, LENGTH_OVERHEAD, MAGIC,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, stamp,
};
pub use records::{Record, RecordError, RecordHeader, RecordHeaders, RecordIter};
pub use varint::{put_varint, put_varlong, read_varint, read_varlong, varint_size, varlong_size};

#[cfg(test)]
mod tests;
