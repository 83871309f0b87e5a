//! The log of a partition in Kafka's on-disk format, and what of it is on disk.
//!
//! A [`LogDir`] is a data directory. A [`Log`] in it is one partition: segments of record batches (`.log`) with sparse
//! indexes (`.index`, `.timeindex`), producer state (`.snapshot`), `leader-epoch-checkpoint` and `partition.metadata`.
//! Appends go to the page cache; a [`Flusher`] makes them durable, many at once, and only then does
//! [`Log::flushed_end`] move. Everything here is synchronous and knows nothing of replication, requests or tokio.
//!
//! The order of things: `LogDir::open`, `LogDir::inventory`, `Log::open` per partition, `Flusher::start`; appends and
//! reads under the partition's lock; at the end `Flusher::stop`, `Log::close_clean` for each, `LogDir::close_clean`.

mod append;
mod checkpoint;
mod config;
mod durability;
mod epoch_replay;
mod error;
mod files;
mod fill;
mod flush;
mod flusher;
mod index;
mod leader_epochs;
mod log_dir;
mod max_timestamp;
mod partition_dir;
mod partition_log;
mod producer_replay;
mod producer_snapshot;
mod producer_state;
mod read;
mod recovery;
mod retention;
mod retire;
mod scan;
mod segment;
mod stray;
mod truncate;
mod trust;

pub use append::Appended;
pub use config::LogConfig;
pub use durability::{Durability, FlushClaim};
pub use error::LogError;
pub use flush::{FlushOutcome, FlushTicket};
pub use flusher::{FlushSlot, FlushTarget, Flusher};
pub use leader_epochs::{EpochEnd, EpochStart, LeaderEpochs};
pub use log_dir::{FlushPoint, Inventory, LogDir};
pub use max_timestamp::MaxTimestampSearch;
pub use partition_dir::{DeletedDir, PartitionDir};
pub use partition_log::Log;
pub use producer_state::{ProducerBatch, RETAINED_BATCHES, SequenceError};
pub use read::{BatchRecords, FileSlice, TimestampOffset, UnreadableRecords, find_record};
pub use recovery::Recovery;
pub use retention::{RetiredSegments, remove_segments, set_segments_aside};
pub use retire::PartitionDirectories;

#[cfg(test)]
mod tests;
