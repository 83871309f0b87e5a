//! What a consumer has read is what every later consumer reads there.

use crate::disk::Batch;
use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "committed-reads-stay";

/// Checks what a consumer is given.
///
/// # Errors
/// What was seen.
pub fn check(past: &PartitionHistory, batch: Batch, broker: usize) -> Result<(), String> {
    if !past.guaranteed {
        return Ok(());
    }
    let committed = past.committed.binary_search_by_key(&batch.base, |it| it.base);
    if committed.is_ok_and(|at| past.committed[at] == batch) {
        Ok(())
    } else {
        Err(format!(
            "b{broker} lets {batch:?} of {} be read, which is not committed",
            past.name
        ))
    }
}
