//! Log lines, for people or for machines.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LoggingConfig;

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

fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(filter).map_err(|error| LoggingError::Filter {
        filter: filter.to_owned(),
        error,
    })
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
}
