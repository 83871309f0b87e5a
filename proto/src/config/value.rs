//! Values and how they are read, as Kafka's `ConfigDef` does it.

use crate::config::{Allowed, ConfigType};

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// BOOLEAN
    Boolean(bool),
    /// INT, SHORT or LONG
    Integer(i64),
    /// DOUBLE
    Double(f64),
    /// STRING, CLASS or PASSWORD
    Text(String),
    /// LIST
    List(Vec<String>),
}

impl Value {
    /// Reads a value of a type. Numbers, booleans and lists may have space around them.
    ///
    /// # Errors
    /// Says what the type wants.
    pub fn parse(kind: ConfigType, text: &str) -> Result<Self, &'static str> {
        let trimmed = text.trim();
        match kind {
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Self::Boolean(true)),
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Self::Boolean(false)),
            ConfigType::Boolean => Err("allowed is true or false"),
            ConfigType::Int => trimmed
                .parse::<i32>()
                .map(|n| Self::Integer(n.into()))
                .map_err(|_| "not a 32-bit number"),
            ConfigType::Short => trimmed
                .parse::<i16>()
                .map(|n| Self::Integer(n.into()))
                .map_err(|_| "not a 16-bit number"),
            ConfigType::Long => trimmed
                .parse::<i64>()
                .map(Self::Integer)
                .map_err(|_| "not a 64-bit number"),
            ConfigType::Double => match trimmed.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Self::Double(number)),
                _ => Err("not a number"),
            },
            ConfigType::String | ConfigType::Password => Ok(Self::Text(text.to_owned())),
            ConfigType::Class => Ok(Self::Text(trimmed.to_owned())),
            ConfigType::List => Ok(Self::List(split_list(trimmed))),
        }
    }

    pub(super) fn is_allowed(&self, allowed: Allowed) -> bool {
        match (allowed, self) {
            (Allowed::Any, _) => true,
            (Allowed::AtLeast(low), Self::Integer(n)) => *n >= low,
            (Allowed::Between(low, high), Self::Integer(n)) => (low..=high).contains(n),
            (Allowed::BetweenOr(low, high, other), Self::Integer(n)) => (low..=high).contains(n) || *n == other,
            (Allowed::AtLeast(low), Self::Double(n)) => *n >= low as f64,
            (Allowed::Between(low, high), Self::Double(n)) => *n >= low as f64 && *n <= high as f64,
            (Allowed::OneOf(words), Self::Text(text)) => words.contains(&text.as_str()),
            (Allowed::OneOfIgnoreCase(words), Self::Text(text)) => words.iter().any(|w| w.eq_ignore_ascii_case(text)),
            (Allowed::NonEmpty, Self::Text(text)) => !text.is_empty(),
            (Allowed::ListOf(words), Self::List(items)) => items
                .iter()
                .enumerate()
                .all(|(at, item)| words.contains(&item.as_str()) && !items[..at].contains(item)),
            (Allowed::ThrottledReplicas, Self::List(items)) => is_throttled_replicas(items),
            _ => false,
        }
    }
}

/// The items of a list; the empty text is the empty list.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        Vec::new()
    } else {
        trimmed.split(',').map(|item| item.trim().to_owned()).collect()
    }
}

fn is_throttled_replicas(items: &[String]) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(items, [all] if all == "*" || all == "none")
        || items
            .iter()
            .all(|item| item.split_once(':').is_some_and(|(p, b)| is_number(p) && is_number(b)))
}
