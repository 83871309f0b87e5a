//! Below the high watermark all replicas hold the same bytes, for ever.

use highwater_proto::types::{LeaderEpoch, Offset};

use crate::disk::Batch;
use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "same-bytes-below-the-high-watermark";

/// Checks a replica whose high watermark moved. What a leader has below it is committed from now on.
///
/// # Errors
/// What was seen.
pub fn check(
    past: &mut PartitionHistory,
    log: &[Batch],
    high_watermark: Offset,
    leads_in: Option<LeaderEpoch>,
    broker: usize,
) -> Result<(), String> {
    if !past.guaranteed {
        return Ok(());
    }
    for (at, batch) in log
        .iter()
        .enumerate()
        .take_while(|(_, batch)| batch.end() <= high_watermark)
    {
        match past.committed.get(at) {
            Some(committed) if committed == batch => {}
            Some(committed) => {
                return Err(format!(
                    "b{broker} has {batch:?} of {} below its high watermark {high_watermark}, others have {committed:?}",
                    past.name
                ));
            }
            None => {
                if let Some(epoch) = leads_in {
                    past.committed.push(*batch);
                    past.committed_in.push(epoch);
                    continue;
                }
                return Err(format!(
                    "b{broker} follows {} with a high watermark of {high_watermark}, no leader was there yet",
                    past.name
                ));
            }
        }
    }
    Ok(())
}
