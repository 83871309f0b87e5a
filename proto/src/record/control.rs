//! Records of control batches: the markers that end a transaction on a partition.

use thiserror::Error;

use crate::record::records::Record;
use crate::types::CoordinatorEpoch;

/// Bytes of a marker's key.
pub const CONTROL_KEY_SIZE: usize = 4;
const VALUE_SIZE: usize = 6;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TxnResult {
    /// Its records never happened.
    Abort,
    /// Its records count.
    Commit,
}

/// The record of a control batch that ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndTxnMarker {
    /// How it ended.
    pub result: TxnResult,
    /// Epoch of the transaction coordinator that said so.
    pub coordinator_epoch: CoordinatorEpoch,
}

/// Why a control record is no end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MarkerError {
    /// The key or value is missing or shorter than version 0 has it.
    #[error("the control record is malformed")]
    Malformed,
    /// A control record of another kind; readers skip it.
    #[error("control record type {0} is unknown")]
    UnknownType(i16),
}

impl EndTxnMarker {
    /// The key: version 0 and the type.
    #[must_use]
    pub const fn key(&self) -> [u8; CONTROL_KEY_SIZE] {
        [0, 0, 0, matches!(self.result, TxnResult::Commit) as u8]
    }

    /// The value: version 0 and the coordinator epoch.
    #[must_use]
    pub const fn value(&self) -> [u8; VALUE_SIZE] {
        let [a, b, c, d] = self.coordinator_epoch.0.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    /// Reads the marker of a control record. Newer versions may append fields, which are ignored.
    ///
    /// # Errors
    /// [`MarkerError`] if it is none.
    pub fn parse(record: &Record<'_>) -> Result<Self, MarkerError> {
        let key = record
            .key
            .and_then(<[u8]>::first_chunk::<CONTROL_KEY_SIZE>)
            .ok_or(MarkerError::Malformed)?;
        let result = match i16::from_be_bytes([key[2], key[3]]) {
            0 => TxnResult::Abort,
            1 => TxnResult::Commit,
            other => return Err(MarkerError::UnknownType(other)),
        };
        let value = record
            .value
            .and_then(<[u8]>::first_chunk::<VALUE_SIZE>)
            .ok_or(MarkerError::Malformed)?;
        let coordinator_epoch = CoordinatorEpoch(i32::from_be_bytes([value[2], value[3], value[4], value[5]]));
        Ok(Self {
            result,
            coordinator_epoch,
        })
    }
}
