//! How alterations change stored configs (`IncrementalAlterConfigs` and `AlterConfigs`).

use std::collections::BTreeSet;

use crate::config::value::split_list;
use crate::config::{
    ConfigError, ConfigErrorKind, ConfigType, Definition, Values, broker_definition, topic_definition,
};

/// Longest value that is stored, in characters.
const MAX_VALUE_CHARS: usize = 32_767;

/// What configs belong to, as far as altering them goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigScope {
    /// A topic.
    Topic,
    /// One broker or all brokers.
    Broker,
}

/// What to do with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOperation {
    /// Store the value.
    Set,
    /// Forget the value, so that the default holds. Deleting what is not set is no error.
    Delete,
    /// Add items to a list; those that it has stay as they are.
    Append,
    /// Take items from a list; missing ones are no error.
    Subtract,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The key.
    pub name: String,
    /// The value, as far as the client sent one.
    pub value: Option<String>,
    /// What to do.
    pub operation: AlterOperation,
}

impl ConfigScope {
    fn definition(self, key: &str) -> Option<&'static Definition> {
        match self {
            Self::Topic => topic_definition(key),
            Self::Broker => broker_definition(key),
        }
    }
}

/// What is stored after the alterations. The result still has to be validated as a whole.
///
/// # Errors
/// A key twice, a missing value, or a list operation on what is no list.
pub fn alter(scope: ConfigScope, stored: &Values, alterations: &[Alteration]) -> Result<Values, ConfigError> {
    let mut seen = BTreeSet::new();
    let mut result = stored.clone();
    for alteration in alterations {
        let key = alteration.name.as_str();
        if !seen.insert(key) {
            return Err(ConfigError::request(key, "appears twice in the request"));
        }
        if alteration.operation == AlterOperation::Delete {
            result.remove(key);
            continue;
        }
        let Some(value) = alteration.value.as_deref() else {
            return Err(ConfigError::request(key, "needs a value"));
        };
        let new = match alteration.operation {
            AlterOperation::Append => list_operation(scope, stored, key, value, append)?,
            AlterOperation::Subtract => list_operation(scope, stored, key, value, subtract)?,
            AlterOperation::Set | AlterOperation::Delete => value.to_owned(),
        };
        put(&mut result, key, new)?;
    }
    Ok(result)
}

/// What is stored when exactly these configs shall be set, and no others.
///
/// # Errors
/// A key twice or a missing value.
pub fn replace<'a>(configs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Result<Values, ConfigError> {
    let mut result = Values::new();
    for (key, value) in configs {
        let value = value.ok_or_else(|| ConfigError::request(key, "needs a value"))?;
        if result.contains_key(key) {
            return Err(ConfigError::request(key, "appears twice in the request"));
        }
        put(&mut result, key, value.to_owned())?;
    }
    Ok(result)
}

fn put(values: &mut Values, key: &str, value: String) -> Result<(), ConfigError> {
    if value.chars().count() > MAX_VALUE_CHARS {
        return Err(ConfigError {
            key: key.to_owned(),
            value: None,
            reason: format!("the value is longer than {MAX_VALUE_CHARS} characters"),
            kind: ConfigErrorKind::InvalidConfig,
        });
    }
    values.insert(key.to_owned(), value);
    Ok(())
}

/// Starts from what is stored, else from the built-in default: not from what holds through other layers.
fn list_operation(
    scope: ConfigScope,
    stored: &Values,
    key: &str,
    value: &str,
    operation: fn(Vec<String>, Vec<String>) -> Vec<String>,
) -> Result<String, ConfigError> {
    let definition = scope
        .definition(key)
        .filter(|definition| definition.kind == ConfigType::List);
    let Some(definition) = definition else {
        return Err(ConfigError::invalid(
            key,
            value,
            "append and subtract are for lists only",
        ));
    };
    let current = stored
        .get(key)
        .map(String::as_str)
        .or(definition.default)
        .unwrap_or_default();
    Ok(operation(split_list(current), split_list(value)).join(","))
}

fn append(mut current: Vec<String>, items: Vec<String>) -> Vec<String> {
    for item in items {
        if !current.contains(&item) {
            current.push(item);
        }
    }
    current
}

fn subtract(mut current: Vec<String>, items: Vec<String>) -> Vec<String> {
    current.retain(|item| !items.contains(item));
    current
}
