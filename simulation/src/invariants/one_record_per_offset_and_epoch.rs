//! The same offset in the same leader epoch is the same record, wherever it is.

use crate::disk::Batch;
use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "one-record-per-offset-and-epoch";

/// Checks an append.
///
/// # Errors
/// What was seen.
pub fn check(past: &mut PartitionHistory, batch: Batch, broker: usize) -> Result<(), String> {
    let first = *past.placed.entry((batch.base, batch.epoch)).or_insert(batch.content);
    if first == batch.content {
        Ok(())
    } else {
        Err(format!(
            "b{broker} has content {} at offset {} of epoch {} in {}, another replica had content {first}",
            batch.content, batch.base, batch.epoch, past.name
        ))
    }
}
