//! Only the controller that leads now changes anything.

use highwater_proto::types::Revision;

/// Its name.
pub const NAME: &str = "deposed-controllers-change-nothing";

/// Checks a commit: by whom, and who leads.
///
/// # Errors
/// What was seen.
pub fn check(by: Revision, leadership: Revision) -> Result<(), String> {
    if by == leadership {
        Ok(())
    } else {
        Err(format!(
            "the controller elected at {by} wrote, the one elected at {leadership} leads"
        ))
    }
}
