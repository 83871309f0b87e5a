//! Where the tests find what `tools/setup` installs. What is absent fails a test with the way to install it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e lies in the project")
        .to_path_buf()
}

/// A file or folder that `tools/setup` makes, by its name under `.tools`.
///
/// # Panics
/// When it is not there: a missing client fails its suite.
pub fn tool(name: &str) -> PathBuf {
    let path = root().join(".tools").join(name);
    assert!(path.exists(), "{} is missing: run `make setup-test`", path.display());
    path
}

/// Debian's kcat.
///
/// # Panics
/// When it is not installed.
pub fn kcat() -> Command {
    let found = Command::new("kcat").arg("-V").output();
    assert!(
        found.is_ok(),
        "kcat is not installed: run `make setup-test` (Debian: apt-get install kcat)"
    );
    Command::new("kcat")
}

/// The Java driver of `e2e/clients/java`, whose stdout carries answers and nothing else.
pub fn java_driver() -> Command {
    let mut command = java_options();
    command.args(["-Dkafka.log=OFF", "Driver"]);
    command
}

/// A class of Apache Kafka's jars, started as fast as a JVM starts.
pub fn java(class: &str) -> Command {
    let mut command = java_options();
    command.args(["-Dkafka.log=ERROR", class]);
    command
}

fn java_options() -> Command {
    let class_path = format!("{}:{}/*", tool("java").display(), tool("kafka").display());
    let log_settings = root().join("e2e/bench/peer/log4j2.xml");
    let mut command = Command::new("java");
    command
        .args([
            "-Xmx256M",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Dkafka.log=ERROR",
        ])
        .arg(format!("-Dlog4j2.configurationFile={}", log_settings.display()))
        .args(["-cp", &class_path]);
    command
}
