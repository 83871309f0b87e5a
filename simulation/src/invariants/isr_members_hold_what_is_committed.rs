//! Everything that is committed is on the disk of every member of ISR and ELR: whichever of them is elected has it, also
//! after a power loss.

use crate::disk::Files;
use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "isr-members-hold-what-is-committed";

/// Checks one member.
///
/// # Errors
/// What was seen.
pub fn check(past: &PartitionHistory, files: Option<&Files>, broker: usize) -> Result<(), String> {
    let (true, Some(last)) = (past.guaranteed, past.committed.last()) else {
        return Ok(());
    };
    // Same offset and epoch is the same record, and what is below it is the same then, too: the last one says it all.
    let held = files.map_or(&[][..], |files| {
        if past.plan.write_caching {
            files.batches()
        } else {
            files.durable()
        }
    });
    if held.get(past.committed.len() - 1) == Some(last) {
        return Ok(());
    }
    Err(format!(
        "b{broker} is in the ISR or ELR of {} and has not flushed {last:?}, which is committed; it has {:?}",
        past.name,
        held.last()
    ))
}
