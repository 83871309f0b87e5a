//! What a process tells about itself: log lines and metrics.

mod logging;
mod metrics;
mod otlp;
mod process;
pub mod trace;

pub use logging::{LoggingError, init_logging};
pub use metrics::Metrics;
pub use otlp::{metrics_request, push_metrics};
pub use trace::Trace;
