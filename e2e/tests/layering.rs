//! The arrows of the tree hold, and a broken one is noticed.

use highwater_e2e::layering::{Source, too_long, violations};
use highwater_e2e::setup::root;
use std::path::Path;

const CRATES: [&str; 8] = [
    "proto",
    "node",
    "controller",
    "broker",
    "coordinator",
    "standalone",
    "simulation",
    "e2e",
];

fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).expect("a text of the project");
    let path = path
        .strip_prefix(root())
        .expect("below the root")
        .to_string_lossy()
        .into_owned();
    Source { path, text }
}

/// All `.rs` files below a folder, but for what is generated or built.
fn rust_files(dir: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the project").flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(read(&path));
        }
    }
}

fn project() -> (Vec<Source>, Vec<Source>) {
    let manifests = CRATES
        .iter()
        .map(|c| read(&root().join(c).join("Cargo.toml")))
        .collect();
    let mut sources = Vec::new();
    for name in CRATES {
        rust_files(&root().join(name), &mut sources);
    }
    assert!(sources.len() > 100, "only {} source files found", sources.len());
    (manifests, sources)
}

#[test]
fn every_arrow_points_down() {
    let (manifests, sources) = project();
    let broken = violations(&manifests, &sources);
    assert!(broken.is_empty(), "broken rules:\n{}", broken.join("\n"));
}

#[test]
fn every_crate_of_the_workspace_is_looked_at() {
    let manifest = read(&root().join("Cargo.toml")).text;
    let members = manifest.lines().find_map(|l| l.strip_prefix("members = "));
    assert_eq!(members, Some(format!("{CRATES:?}").as_str()));
}

/// What `deny.toml` bans and where it lets crates come from, without cargo-deny, which `make deny` runs.
#[test]
fn nothing_banned_is_linked() {
    let denied = read(&root().join("deny.toml")).text;
    let banned: Vec<&str> = denied
        .lines()
        .filter_map(|l| l.trim().strip_prefix("{ name = \"")?.split('"').next())
        .collect();
    assert!(banned.contains(&"openssl-sys"), "deny.toml bans {banned:?}");
    let lock = read(&root().join("Cargo.lock")).text;
    let linked = |name: &&str| lock.contains(&format!("\nname = \"{name}\"\n"));
    assert!(linked(&"tokio"));
    let found: Vec<&str> = banned.into_iter().filter(linked).collect();
    assert!(found.is_empty(), "banned crates are in Cargo.lock: {found:?}");
    let elsewhere: Vec<&str> = lock
        .lines()
        .filter(|l| l.starts_with("source = ") && !l.contains("registry+https://github.com/rust-lang/crates.io-index"))
        .collect();
    assert!(elsewhere.is_empty(), "crates from elsewhere: {elsewhere:?}");
}

#[test]
fn no_file_is_too_long() {
    let long = too_long(&project().1);
    assert!(long.is_empty(), "split these:\n{}", long.join("\n"));
}

/// Adds a file to the real project and returns what that breaks.
fn broken_by(path: &str, text: &str) -> Vec<String> {
    let source = Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    if path.ends_with("Cargo.toml") {
        violations(&[source], &[])
    } else {
        violations(&[], &[source])
    }
}

#[test]
fn a_broken_arrow_is_reported() {
    let cases = [
        (
            "controller/Cargo.toml",
            "[dependencies]\nhighwater-broker.workspace = true",
        ),
        (
            "proto/Cargo.toml",
            "[dev-dependencies]\nhighwater-node = { path = \"../node\" }",
        ),
        ("e2e/Cargo.toml", "[dependencies]\nhighwater-proto.workspace = true"),
        ("console/Cargo.toml", "[dependencies]"),
        ("broker/src/replica/x.rs", "use crate::log::Log;"),
        ("broker/src/log/x.rs", "use crate::{records::Batch, replica::Replica};"),
        (
            "broker/src/log/x/y.rs",
            "use super::super::super::partition::Partition;",
        ),
        ("broker/src/partitions/x.rs", "fn f() { crate::api::produce::handle() }"),
        ("broker/src/partition/mod.rs", "use super::partitions::Partitions;"),
        ("broker/src/log/x.rs", "use crate::Broker;"),
        ("broker/src/partition/x.rs", "use crate::novelty::Novelty;"),
        ("broker/src/api/x.rs", "use crate::connection::Connection;"),
        ("broker/src/forward/x.rs", "use crate::api::SERVED;"),
        ("coordinator/src/group/x.rs", "use crate::runtime::Runtime;"),
        ("controller/src/cluster/x.rs", "use crate::service::Service;"),
        ("broker/src/replica/x.rs", "use tokio::sync::watch;"),
        ("broker/src/replica/x.rs", "use std::{collections::HashMap, fs::File};"),
        ("coordinator/src/group/x.rs", "use std::time::{Duration, Instant};"),
        (
            "coordinator/src/shard.rs",
            "fn now() -> u64 { std::time::SystemTime::now() }",
        ),
        ("controller/src/cluster/x.rs", "use rand::Rng as _;"),
        ("proto/src/metadata/x.rs", "use std::net::TcpStream;"),
        ("proto/src/metadata/x.rs", "use std::time::*;"),
    ];
    for (path, text) in cases {
        assert_eq!(
            broken_by(path, text).len(),
            1,
            "{path}: {text}: {:?}",
            broken_by(path, text)
        );
    }
}

#[test]
fn an_allowed_arrow_is_not() {
    let cases = [
        (
            "controller/Cargo.toml",
            "[package]\nname = \"highwater-controller\"\n[dependencies]\nhighwater-proto.workspace = true",
        ),
        (
            "broker/src/partition/x.rs",
            "use crate::log::Log; use crate::replica::Replica;",
        ),
        (
            "broker/src/api/x.rs",
            "use crate::client::Client; use crate::partitions::Partitions;",
        ),
        (
            "broker/src/replica/x.rs",
            "// use tokio::sync;\nuse std::time::Duration; const A: &str = \"tokio::\";",
        ),
        (
            "broker/src/replica/x.rs",
            "use super::follower::Follower; use crate::replica::isr;",
        ),
        ("broker/src/replica/tests.rs", "use std::time::Instant;"),
        (
            "broker/src/replica/x.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n use rand::Rng;\n}",
        ),
        (
            "broker/src/log/x.rs",
            "use std::time::Instant; use tokio::sync::Notify;",
        ),
    ];
    for (path, text) in cases {
        assert_eq!(broken_by(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_long_file_is_reported() {
    let source = |path: &str, text: String| Source {
        path: path.to_owned(),
        text,
    };
    let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}", "\n".repeat(600));
    assert_eq!(too_long(&[source("broker/src/x.rs", "\n".repeat(501))]).len(), 1);
    assert!(too_long(&[source("broker/src/x.rs", "\n".repeat(499))]).is_empty());
    assert!(too_long(&[source("broker/src/x.rs", tests)]).is_empty());
}
