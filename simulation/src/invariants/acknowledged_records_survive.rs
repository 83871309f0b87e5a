//! What is committed, and so everything that was acknowledged, is in the log of whoever leads in a later epoch.

use highwater_proto::types::LeaderEpoch;

use crate::disk::Batch;
use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "acknowledged-records-survive";

/// Checks the log of a leader that begins, or of any leader at the end.
///
/// # Errors
/// What was seen.
pub fn check(past: &PartitionHistory, log: &[Batch], epoch: LeaderEpoch, broker: usize) -> Result<(), String> {
    if !past.guaranteed {
        return Ok(());
    }
    let lost = past
        .committed
        .iter()
        .enumerate()
        .find(|(at, batch)| past.committed_in[*at] < epoch && log.get(*at) != Some(*batch));
    match lost {
        None => Ok(()),
        Some((at, batch)) => {
            let acknowledged = if past.acknowledged.contains(batch) {
                "acknowledged"
            } else {
                "committed"
            };
            Err(format!(
                "b{broker} leads {} in epoch {epoch} without {batch:?}, which was {acknowledged}; it has {:?} there",
                past.name,
                log.get(at)
            ))
        }
    }
}
