//! The rules of the tree: which crate and which module may know which, what the pure modules may not touch, and how long
//! a file may be. Everything here works on text that is handed in, so that a broken rule can be tested.

/// A source file: its path from the root of the project, and its text.
pub struct Source {
    /// For example `broker/src/log/segment.rs`.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// What each crate may depend on, of ours. The manifest of another crate names what is missing here.
const CRATES: [(&str, &[&str]); 8] = [
    ("proto", &[]),
    ("node", &["proto"]),
    ("controller", &["proto", "node"]),
    ("broker", &["proto", "node"]),
    ("coordinator", &["proto", "node"]),
    ("standalone", &["proto", "node", "controller", "broker", "coordinator"]),
    ("simulation", &["proto", "controller", "broker", "coordinator"]),
    ("e2e", &[]),
];

/// Modules that do no IO and know no clock and no chance: time and randomness come in as arguments.
const PURE: [&str; 7] = [
    "broker/src/replica",
    "broker/src/log/durability",
    "controller/src/cluster",
    "coordinator/src/shard",
    "coordinator/src/group",
    "coordinator/src/transaction",
    "proto/src/metadata",
];

/// What a pure module may not name, as the start of a path.
const IMPURE: [&[&str]; 9] = [
    &["tokio"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["rand"],
    &["rustix"],
    &["Instant"],
];

/// The most lines of a file, without its tests.
const MAX_LINES: usize = 500;

/// What a module at the top of a crate may use of its crate, apart from itself. A module that is not listed is part of
/// the shell around these: it may use what it likes, and these may use of it only what is named here.
const MODULES: [(&str, Modules); 3] = [
    ("broker", BROKER),
    ("controller", CONTROLLER),
    ("coordinator", COORDINATOR),
];

/// Modules at the top of a crate, each with the siblings it may use.
type Modules = &'static [(&'static str, &'static [&'static str])];

/// `api → partitions → partition → {replica, log}`; replica and log do not know each other; nothing calls upwards. APIs
/// are handed the broker, and know nothing of listeners and connections.
const BROKER: Modules = &[
    ("records", &[]),
    ("replica", &[]),
    ("frame", &[]),
    ("reply", &[]),
    ("disk_limit", &[]),
    ("throttle", &[]),
    // A follower's session holds the feed that partitions put themselves into.
    ("fetch_session", &["partition"]),
    ("client", &[]),
    ("latency", &[]),
    ("log", &["records"]),
    ("partition", &["replica", "log", "records", "reply", "latency"]),
    (
        "partitions",
        &["partition", "replica", "log", "records", "reply", "latency"],
    ),
    ("forward", &["reply"]),
    (
        "api",
        &[
            "broker",
            "client",
            "creating",
            "disk_limit",
            "fetch_session",
            "forward",
            "internal_topics",
            "log",
            "partition",
            "partitions",
            "producer_ids",
            "records",
            "replica",
            "reply",
            "throttle",
        ],
    ),
];

const CONTROLLER: Modules = &[("cluster", &[]), ("store", &[])];

const COORDINATOR: Modules = &[
    ("group", &[]),
    ("transaction", &[]),
    ("shard", &["group", "transaction"]),
];

/// Every broken rule, one line each.
pub fn violations(manifests: &[Source], sources: &[Source]) -> Vec<String> {
    let mut all: Vec<String> = manifests.iter().flat_map(manifest_violations).collect();
    for source in sources {
        let paths = paths_in(&code(&source.text));
        all.extend(module_violations(source, &paths));
        all.extend(purity_violations(source, &paths));
    }
    all
}

/// Files that are too long.
pub fn too_long(sources: &[Source]) -> Vec<String> {
    let count = |s: &Source| without_tests(&s.text).lines().count();
    sources
        .iter()
        .filter(|s| !is_test_file(&s.path) && count(s) > MAX_LINES)
        .map(|s| format!("{} has {} lines, at most {MAX_LINES} are allowed", s.path, count(s)))
        .collect()
}

fn manifest_violations(manifest: &Source) -> Vec<String> {
    let Some(own) = manifest.path.strip_suffix("/Cargo.toml") else {
        return Vec::new();
    };
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == own) else {
        return vec![format!("{}: the crate is not in the table of crates", manifest.path)];
    };
    let mut broken = Vec::new();
    for line in manifest.text.lines() {
        let Some(rest) = line.trim().strip_prefix("highwater-") else {
            continue;
        };
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(rest.len());
        let other = &rest[..end];
        if !allowed.contains(&other) && other != own {
            broken.push(format!("{}: {own} may not depend on {other}", manifest.path));
        }
    }
    broken
}

fn module_violations(source: &Source, paths: &[Vec<String>]) -> Vec<String> {
    let Some((krate, module)) = module_of(&source.path) else {
        return Vec::new();
    };
    let Some((_, rules)) = MODULES.iter().find(|(name, _)| *name == krate) else {
        return Vec::new();
    };
    let Some(top) = module.first() else { return Vec::new() };
    let Some((_, allowed)) = rules.iter().find(|(name, _)| name == top) else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    for path in paths {
        let Some(target) = absolute(path, &module) else {
            continue;
        };
        let Some(other) = target.first() else { continue };
        if other != top && !allowed.contains(&other.as_str()) {
            let line = format!("{}: {top} may not use {other}", source.path);
            if !broken.contains(&line) {
                broken.push(line);
            }
        }
    }
    broken
}

fn purity_violations(source: &Source, paths: &[Vec<String>]) -> Vec<String> {
    let pure = PURE.iter().find(|p| {
        source
            .path
            .strip_prefix(**p)
            .is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    });
    let (Some(pure), false) = (pure, is_test_file(&source.path)) else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    for path in paths {
        let named = IMPURE
            .iter()
            .find(|i| path.len() >= i.len() && path.iter().zip(i.iter()).all(|(a, b)| a == b));
        let glob = path == &["std", "time", "*"];
        if named.is_some() || glob || path.first().is_some_and(|p| p == "SystemTime") {
            let line = format!("{}: {} is pure and may not use {}", source.path, pure, path.join("::"));
            if !broken.contains(&line) {
                broken.push(line);
            }
        }
    }
    broken
}

/// Crate and module path of a source file: `broker/src/log/segment.rs` is module `log::segment` of `broker`.
fn module_of(path: &str) -> Option<(String, Vec<String>)> {
    let (krate, rest) = path.split_once("/src/")?;
    let rest = rest.strip_suffix(".rs")?;
    let mut module: Vec<String> = rest.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    Some((krate.to_owned(), module))
}

/// The path from the crate's root, for a path that stays in the crate.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let ups = path.iter().take_while(|p| *p == "super").count();
            let mut base = module[..module.len().checked_sub(ups)?].to_vec();
            base.extend_from_slice(&path[ups..]);
            Some(base)
        }
        _ => None,
    }
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The text up to its test module, which by the rule of the house comes last.
fn without_tests(text: &str) -> &str {
    let at = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    &text[..at]
}

/// The text without comments, strings and tests.
fn code(text: &str) -> String {
    let chars: Vec<char> = without_tests(text).chars().collect();
    let (mut out, mut i) = (String::with_capacity(chars.len()), 0);
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                i += 2;
                while i < chars.len() && (at(i), at(i + 1)) != ('*', '/') {
                    i += 1;
                }
                i += 2;
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
                out.push_str("\"\"");
            }
            // A character, not a lifetime.
            ('\'', '"') => i += 3,
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// Every path in the code, those of `use` trees expanded.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let (mut paths, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        if is_word(&tokens[i]) && (i == 0 || tokens[i - 1] != "::") {
            i = read_tree(&tokens, i, &mut Vec::new(), &mut paths);
        } else {
            i += 1;
        }
    }
    paths
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') || token == "*"
}

fn tokens(code: &str) -> Vec<String> {
    let (mut out, mut rest) = (Vec::<String>::new(), code.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        out.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    out
}

/// Reads a path, or a tree of paths with a common start, and returns where it ends.
fn read_tree(tokens: &[String], mut i: usize, start: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let own = start.len();
    let token = |i: usize| tokens.get(i).map_or("", String::as_str);
    while is_word(token(i)) {
        start.push(tokens[i].clone());
        i += 1;
        if token(i) != "::" {
            break;
        }
        i += 1;
    }
    if token(i) == "{" && i > 0 && token(i - 1) == "::" {
        i += 1;
        while i < tokens.len() && token(i) != "}" {
            i = if is_word(token(i)) {
                read_tree(tokens, i, start, paths)
            } else {
                i + 1
            };
        }
        i += 1;
    } else if start.len() > own {
        paths.push(start.clone());
    }
    start.truncate(own);
    i
}
