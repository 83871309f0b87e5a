//! The high watermark of a replica never goes back while its process runs and its log is not cut.

use highwater_proto::types::Offset;

/// Its name.
pub const NAME: &str = "the-high-watermark-rises";

/// Checks a move.
///
/// # Errors
/// What was seen.
pub fn check(before: Offset, after: Offset, broker: usize) -> Result<(), String> {
    if after >= before {
        Ok(())
    } else {
        Err(format!(
            "b{broker} moves its high watermark from {before} back to {after}"
        ))
    }
}
