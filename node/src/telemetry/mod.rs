//! What a process tells about itself: log lines and metrics.

mod logging;
mod metrics;
mod process;

pub use logging::{LoggingError, init_logging};
pub use metrics::Metrics;
