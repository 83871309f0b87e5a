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

/// Debian's kcat, in the version that its suite is for.
///
/// # Panics
/// When it is not installed, or another one.
pub fn kcat() -> Command {
    let found = Command::new("kcat").arg("-V").output();
    let version = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.expect("kcat is installed: run `make setup-test` (Debian: apt-get install kcat)");
    assert!(
        version.contains("Version 1.7.1 "),
        "kcat 1.7.1 is wanted, this is {version}"
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

/// As [`java`], with the client's log on stderr.
pub fn java_with_log(class: &str) -> Command {
    let mut command = java_options();
    command.args(["-Dkafka.log=INFO", "-Dkafka.log.target=SYSTEM_ERR", class]);
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
        ])
        .arg(format!("-Dlog4j2.configurationFile={}", log_settings.display()))
        .args(["-cp", &class_path]);
    command
}
