//! Log lines, for people or for machines.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LoggingConfig;

/// The target of the spans that put a trace's id on log lines.
pub(super) const TRACE_TARGET: &str = "highwater_trace";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("invalid value {filter:?} for logging.filter: allowed is a level or a list of target=level: {error}")]
    Filter {
        /// As it was configured.
        filter: String,
        /// Why it was refused.
        error: ParseError,
    },
    /// Something else in this process logs already.
    #[error("cannot set up logging: {0}")]
    Init(#[from] TryInitError),
}

/// Sets up logging to standard error, once per process.
///
/// # Errors
/// When the filter is not one, or logging was set up before.
pub fn init_logging(config: &LoggingConfig) -> Result<(), LoggingError> {
    let filter = parse_filter(&config.filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if config.json {
        lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init()?;
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        lines.with_ansi(colours).with_target(false).finish().try_init()?;
    }
    Ok(())
}

/// A filter that lets some lines through leaves them their trace's id: the span that carries it is no line of its own.
fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    let refused = |error| LoggingError::Filter {
        filter: filter.to_owned(),
        error,
    };
    EnvFilter::try_new(filter).map_err(refused)?;
    EnvFilter::try_new(format!("{filter},{TRACE_TARGET}=error")).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_a_list_of_targets_and_anything_else_is_named() {
        assert!(parse_filter("info").is_ok());
        assert!(parse_filter("warn,highwater_broker=debug").is_ok());
        let error = parse_filter("highwater=chatty").unwrap_err().to_string();
        assert!(
            error.contains("logging.filter") && error.contains("highwater=chatty"),
            "{error}"
        );
    }

    #[test]
    fn a_line_that_passes_the_filter_carries_its_trace_whatever_else_the_filter_drops() {
        for filter in ["info", "off,highwater_broker=debug", "highwater_broker=info"] {
            let lines = Lines::default();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(parse_filter(filter).unwrap())
                .with_writer(lines.clone())
                .with_ansi(false)
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::error_span!(target: TRACE_TARGET, "trace", trace_id = "4bf92f");
                span.in_scope(|| tracing::info!(target: "highwater_broker", "done"));
            });
            let text = String::from_utf8(lines.0.lock().clone()).unwrap();
            assert!(
                text.contains("trace_id=\"4bf92f\"") && text.contains("done"),
                "{filter}: {text}"
            );
        }
    }

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }
}
