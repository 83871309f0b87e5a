//! The time that a decision is taken at.

use std::time::Duration;

use highwater_proto::types::TimestampMs;

/// Both clocks at one moment. Deadlines use the monotonic one, so that a jump of the wall clock expires nobody; what is
/// stored carries the wall clock's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time.
    pub wall: TimestampMs,
    /// Monotonic time since an arbitrary start.
    pub monotonic: Duration,
}
