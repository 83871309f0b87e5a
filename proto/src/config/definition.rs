//! What a config is: its name, type, default and bounds, what it is for, and whether it is obeyed.

use std::fmt;

use crate::config::{ConfigError, Value};

/// One config as Apache Kafka defines it, and how far it is supported.
#[derive(Debug)]
pub struct Definition {
    /// The key, as users write it.
    pub name: &'static str,
    /// Type of the value.
    pub kind: ConfigType,
    /// Default in text form; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Which values of the type are allowed.
    pub allowed: Allowed,
    /// How much Kafka's documentation wants users to care.
    pub importance: Importance,
    /// Whether and where the value may change while the broker runs. Topic configs always may.
    pub update: Update,
    /// Whether the config is obeyed.
    pub support: Support,
    /// What it does, in one or two sentences.
    pub documentation: &'static str,
}

/// Types of values (Kafka's `ConfigDef.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean,
    /// Text.
    String,
    /// 32-bit integer.
    Int,
    /// 16-bit integer.
    Short,
    /// 64-bit integer.
    Long,
    /// 64-bit floating point.
    Double,
    /// Comma-separated texts.
    List,
    /// Name of a Java class.
    Class,
    /// A secret: never shown.
    Password,
}

impl ConfigType {
    /// The number of the type in `DescribeConfigs` answers.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// Kafka's name of the type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// Which values of its type a config may have.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// All.
    Any,
    /// Numbers from here on.
    AtLeast(i64),
    /// Numbers from the first to the second, both included.
    Between(i64, i64),
    /// As `Between`, and the third number.
    BetweenOr(i64, i64, i64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfIgnoreCase(&'static [&'static str]),
    /// A list of some of these words, none twice.
    ListOf(&'static [&'static str]),
    /// Any text but the empty one.
    NonEmpty,
    /// `*`, or a list of partition:broker pairs.
    ThrottledReplicas,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::AtLeast(low) => write!(f, "at least {low}"),
            Self::Between(low, high) => write!(f, "from {low} to {high}"),
            Self::BetweenOr(low, high, other) => write!(f, "from {low} to {high}, or {other}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::OneOfIgnoreCase(words) => write!(f, "one of {} in any case", words.join(", ")),
            Self::ListOf(words) => write!(f, "a list of {}, none twice", words.join(", ")),
            Self::NonEmpty => f.write_str("a text that is not empty"),
            Self::ThrottledReplicas => f.write_str("* or a list of partition:broker pairs"),
        }
    }
}

/// Kafka's importance of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Most users look at it.
    High,
    /// Some do.
    Medium,
    /// Few do.
    Low,
}

/// Whether a broker config may change while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only with a restart.
    ReadOnly,
    /// For one broker.
    PerBroker,
    /// For one broker, or for all as a default.
    ClusterWide,
}

/// Whether a config is obeyed. What is accepted is obeyed; what is not implemented accepts only its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Obeyed.
    Implemented,
    /// Accepts only its default; says why.
    DefaultOnly(&'static str),
    /// Accepted at start with any valid value, and has no effect because what it configures does not exist here; says
    /// what. These are the keys that stand in the `server.properties` which Apache Kafka ships, or size its threads.
    Ignored(&'static str),
}

impl Definition {
    /// True for values that are never shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, ConfigType::Password)
    }

    /// The value in its type, if it is one of the type and allowed.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = Value::parse(self.kind, text).map_err(|reason| ConfigError::invalid(self.name, text, reason))?;
        if value.is_allowed(self.allowed) {
            Ok(value)
        } else {
            Err(ConfigError::invalid(
                self.name,
                text,
                format!("allowed is {}", self.allowed),
            ))
        }
    }

    /// Checks that the value can be obeyed: valid, and the default where nothing else is implemented.
    ///
    /// # Errors
    /// Says what is allowed, or why nothing but the default is.
    pub fn check(&self, text: &str) -> Result<Value, ConfigError> {
        let value = self.parse(text)?;
        match self.support {
            Support::Implemented => Ok(value),
            Support::DefaultOnly(reason) | Support::Ignored(reason) => {
                self.check_default(text, &value, reason)?;
                Ok(value)
            }
        }
    }

    fn check_default(&self, text: &str, value: &Value, reason: &str) -> Result<(), ConfigError> {
        let default = self.default.map(|default| Value::parse(self.kind, default));
        match default {
            Some(Ok(default)) if default == *value => Ok(()),
            _ => {
                let only = self.default.unwrap_or("no value at all");
                let only = if only.is_empty() { "an empty value" } else { only };
                Err(ConfigError::invalid(
                    self.name,
                    text,
                    format!("only the default ({only}) is supported: {reason}"),
                ))
            }
        }
    }
}
