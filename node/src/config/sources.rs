//! Where a process's configuration comes from: flags over environment over file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use highwater_proto::config::{ConfigError, Values, broker_definition, broker_definitions};

use crate::config::properties::{PropertiesError, parse_properties};

/// Prefix of environment variables that set configs.
pub const ENVIRONMENT_PREFIX: &str = "HIGHWATER_";

/// Largest configuration file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the process was given.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A Java properties file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix are left aside.
    pub environment: Vec<(String, String)>,
    /// Keys and values from flags; of equal keys the last holds.
    pub flags: Vec<(String, String)>,
}

/// Where one value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By a flag.
    Flag,
    /// By this environment variable.
    Environment(String),
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("set by a flag"),
            Self::Environment(variable) => write!(f, "set by environment variable {variable}"),
            Self::File { path, line } => write!(f, "set in {} line {line}", path.display()),
        }
    }
}

/// Why a process cannot start with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not of the format.
    #[error("configuration file {}: {error}", path.display())]
    Properties {
        /// The file.
        path: PathBuf,
        /// Where and what.
        error: PropertiesError,
    },
    /// A `--set` without a key or a value.
    #[error("--set {0:?}: wanted is key=value")]
    Flag(String),
    /// A variable with our prefix that names no config.
    #[error("environment variable {0} names no known config")]
    Environment(String),
    /// A config was refused.
    #[error("{error}{}", origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default())]
    Config {
        /// Which and why.
        error: ConfigError,
        /// Where it was set, if it was.
        origin: Option<Origin>,
    },
}

/// Reads `key=value`, the form of `--set`.
///
/// # Errors
/// When there is no key or no `=`.
pub fn parse_set(text: &str) -> Result<(String, String), LoadError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(LoadError::Flag(text.to_owned())),
    }
}

/// The environment variable that sets a config.
#[must_use]
pub fn environment_variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// The values that hold and where each was set. Keys are checked to be known, values are not checked yet.
pub(super) fn merge(sources: &Sources) -> Result<(Values, BTreeMap<String, Origin>), LoadError> {
    let mut merged = Merged::default();
    if let Some(path) = &sources.file {
        merged.read_file(path)?;
    }
    merged.read_environment(&sources.environment)?;
    for (key, value) in &sources.flags {
        merged.put(key, value, Origin::Flag)?;
    }
    Ok((merged.values, merged.origins))
}

#[derive(Default)]
struct Merged {
    values: Values,
    origins: BTreeMap<String, Origin>,
}

impl Merged {
    fn read_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let text = read_bounded(path).map_err(|error| LoadError::File {
            path: path.to_owned(),
            error,
        })?;
        let properties = parse_properties(&text).map_err(|error| LoadError::Properties {
            path: path.to_owned(),
            error,
        })?;
        for property in properties {
            let origin = Origin::File {
                path: path.to_owned(),
                line: property.line,
            };
            self.put(&property.key, &property.value, origin)?;
        }
        Ok(())
    }

    fn read_environment(&mut self, environment: &[(String, String)]) -> Result<(), LoadError> {
        for (variable, value) in environment {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            let definition = broker_definitions().find(|known| environment_variable(known.name) == *variable);
            match definition {
                Some(definition) => self.put(definition.name, value, Origin::Environment(variable.clone()))?,
                None if is_service_link(name) => {}
                None => return Err(LoadError::Environment(variable.clone())),
            }
        }
        Ok(())
    }

    fn put(&mut self, key: &str, value: &str, origin: Origin) -> Result<(), LoadError> {
        if broker_definition(key).is_none() {
            return Err(LoadError::Config {
                error: ConfigError::unknown_key(key),
                origin: Some(origin),
            });
        }
        self.values.insert(key.to_owned(), value.to_owned());
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    std::fs::read_to_string(path)
}

/// Kubernetes puts variables like `HIGHWATER_BROKER_SERVICE_HOST` into each pod for services of such names.
fn is_service_link(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"]
        .iter()
        .any(|suffix| format!("_{name}").ends_with(suffix))
        || ["_SERVICE_PORT_", "_PORT_"]
            .iter()
            .any(|infix| format!("_{name}").contains(infix))
}
