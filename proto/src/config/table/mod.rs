//! The tables: every config of Apache Kafka and our own.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::config::Definition;

/// Rows of a table: `"name": Type = default, allowed, importance, update, support, "documentation";`
macro_rules! definitions {
    ($($name:literal: $kind:ident = $default:expr, $allowed:expr, $importance:ident, $update:ident, $support:expr,
        $documentation:literal;)*) => {
        &[$(Definition {
            name: $name,
            kind: ConfigType::$kind,
            default: $default,
            allowed: $allowed,
            importance: Importance::$importance,
            update: Update::$update,
            support: $support,
            documentation: $documentation,
        }),*]
    };
}

mod admin;
mod controller;
mod group;
mod log;
mod network;
mod own;
mod remote;
mod replication;
mod security;
mod share_streams;
mod support;
mod topic;
mod transaction;

/// What the rows of the tables are written in.
mod prelude {
    pub(super) use super::support::*;
    pub(super) use crate::config::Allowed::{
        Any, AtLeast, Between, BetweenOr, ListOf, NonEmpty, OneOf, OneOfIgnoreCase, ThrottledReplicas,
    };
    pub(super) use crate::config::{ConfigType, Definition, Importance, Update};
}

type Table = BTreeMap<&'static str, &'static Definition>;

static TOPIC: LazyLock<Table> = LazyLock::new(|| by_name(&[topic::DEFINITIONS]));
static BROKER: LazyLock<Table> = LazyLock::new(|| {
    by_name(&[
        admin::DEFINITIONS,
        controller::DEFINITIONS,
        group::DEFINITIONS,
        log::DEFINITIONS,
        network::DEFINITIONS,
        own::DEFINITIONS,
        remote::DEFINITIONS,
        replication::DEFINITIONS,
        security::DEFINITIONS,
        share_streams::DEFINITIONS,
        transaction::DEFINITIONS,
    ])
});

fn by_name(parts: &[&'static [Definition]]) -> Table {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .map(|definition| (definition.name, definition))
        .collect()
}

/// The topic config of that name.
#[must_use]
pub fn topic_definition(name: &str) -> Option<&'static Definition> {
    TOPIC.get(name).copied()
}

/// All topic configs, by name.
pub fn topic_definitions() -> impl Iterator<Item = &'static Definition> {
    TOPIC.values().copied()
}

/// The broker config of that name (also of controllers and coordinators: one namespace).
#[must_use]
pub fn broker_definition(name: &str) -> Option<&'static Definition> {
    BROKER.get(name).copied()
}

/// All broker configs, by name.
pub fn broker_definitions() -> impl Iterator<Item = &'static Definition> {
    BROKER.values().copied()
}
