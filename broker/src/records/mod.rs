//! What a leader does with a batch before its log takes it: validation as Kafka does it, log append time,
//! recompression; and reading records of stored batches, compressed or not. Pure.

mod compression;
mod deep;
mod fuzz;
mod read;
mod rejection;
mod snappy;
mod validate;

pub use compression::{CompressError, CompressionTarget, DecompressError, compress, decompress};
#[doc(hidden)]
pub use fuzz::{fuzz_decompress, fuzz_validate};
pub use read::{ReadError, first_at_or_after, first_of_max_timestamp, records_section};
pub use rejection::{FaultKind, MAX_RECORD_FAULTS, RecordFault, Rejection};
pub use validate::{ValidationRules, decompressed_limit, take_batch, validate};

#[cfg(test)]
mod tests;
