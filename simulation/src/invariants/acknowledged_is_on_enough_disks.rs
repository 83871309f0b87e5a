//! acks=all is answered once the record is committed, and has been on the disks of at least min ISR replicas.

use crate::disk::Batch;
use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "acknowledged-is-on-enough-disks";

/// Checks an acknowledgement.
///
/// # Errors
/// What was seen.
pub fn check(past: &PartitionHistory, batch: Batch) -> Result<(), String> {
    if !past.guaranteed {
        return Ok(());
    }
    let committed = past.committed.binary_search_by_key(&batch.base, |it| it.base);
    if !committed.is_ok_and(|at| past.committed[at] == batch) {
        return Err(format!("{batch:?} of {} is acknowledged and not committed", past.name));
    }
    let holders = past
        .held
        .get(&batch.content)
        .map_or(0, |brokers| brokers.count_ones() as usize);
    if holders < past.plan.min_isr {
        return Err(format!(
            "{batch:?} of {} is acknowledged and on {holders} disks, min ISR is {}",
            past.name, past.plan.min_isr
        ));
    }
    Ok(())
}
