//! Offsets follow each other without a gap, and leader epochs never fall.

use highwater_proto::types::Offset;

use crate::disk::Batch;

/// Its name.
pub const NAME: &str = "offsets-are-contiguous";

/// Checks an append: what was last, and what comes.
///
/// # Errors
/// What was seen.
pub fn check(last: Option<Batch>, next: Batch, broker: usize) -> Result<(), String> {
    let end = last.map_or(Offset(0), Batch::end);
    if next.base == end && last.is_none_or(|last| last.epoch <= next.epoch) {
        Ok(())
    } else {
        Err(format!("b{broker} appends {next:?} behind {last:?}"))
    }
}
