//! From record batches to state (rule 88).

use bytes::Bytes;
use highwater_proto::record::{Batches, EndTxnMarker, HeaderError, MarkerError, RecordError, TxnResult};
use highwater_proto::types::Offset;
use thiserror::Error;

use crate::group::{Groups, UndecodableRecord};

/// Why a log cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A batch is not one.
    #[error("a record batch cannot be read")]
    Batch(#[from] HeaderError),
    /// A batch was damaged.
    #[error("the checksum of the record batch at offset {0} is wrong")]
    Checksum(Offset),
    /// The records of a batch are not what its header says.
    #[error("the records of the batch at offset {offset} cannot be read")]
    Records {
        /// Base offset of the batch.
        offset: Offset,
        /// What is wrong.
        #[source]
        source: RecordError,
    },
    /// A key or a value is not what its type says.
    #[error(transparent)]
    Record(#[from] UndecodableRecord),
    /// A record without a key does not belong into a compacted topic.
    #[error("the record at offset {0} has no key")]
    NoKey(Offset),
}

/// Replays the records from `from` on and below `end`.
///
/// # Errors
/// When something of a known kind cannot be read: the shard must not be served from half a state.
pub(super) fn replay(groups: &mut Groups, batches: &Bytes, from: Offset, end: Offset) -> Result<(), LoadError> {
    for batch in Batches::new(batches.clone()) {
        let batch = batch?;
        let offset = batch.header.base_offset;
        if !batch.verify_crc() {
            return Err(LoadError::Checksum(offset));
        }
        let producer = batch.header.is_transactional().then_some(batch.header.producer_id);
        let records = batch.iter().map_err(|source| LoadError::Records { offset, source })?;
        for record in records {
            let record = record.map_err(|source| LoadError::Records { offset, source })?;
            if record.offset < from || record.offset >= end {
                continue;
            }
            if batch.header.is_control() {
                match EndTxnMarker::parse(&record) {
                    Ok(marker) => {
                        let commit = marker.result == TxnResult::Commit;
                        groups.replay_end_transaction(batch.header.producer_id, commit);
                    }
                    // Control records of other kinds say nothing about groups.
                    Err(MarkerError::UnknownType(_) | MarkerError::Malformed) => {}
                }
                continue;
            }
            let key = record.key.ok_or(LoadError::NoKey(record.offset))?;
            groups.replay(record.offset, producer, key, record.value)?;
        }
    }
    Ok(())
}
