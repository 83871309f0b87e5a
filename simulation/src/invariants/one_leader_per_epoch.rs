//! A leader epoch has one leader: one broker, and one process start of it.

use highwater_proto::types::LeaderEpoch;
use uuid::Uuid;

use crate::history::PartitionHistory;

/// Its name.
pub const NAME: &str = "one-leader-per-epoch";

/// Checks a leader that begins.
///
/// # Errors
/// What was seen.
pub fn check(past: &mut PartitionHistory, epoch: LeaderEpoch, broker: usize, incarnation: Uuid) -> Result<(), String> {
    let first = *past.leaders.entry(epoch).or_insert((broker, incarnation));
    if first == (broker, incarnation) {
        Ok(())
    } else {
        let again = if first.0 == broker { " after a restart" } else { "" };
        Err(format!(
            "b{broker} leads {} in epoch {epoch}{again}, in which b{} has led",
            past.name, first.0
        ))
    }
}
