//! Help, and configurations that are refused.

use std::process::Command;

use crate::highwater::{Highwater, command, run};

#[test]
fn help_teaches_where_configs_come_from() {
    let mut help = Command::new(env!("CARGO_BIN_EXE_highwater"));
    help.arg("--help");
    let output = run(help);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "--set num.partitions=3",
        "HIGHWATER_NUM_PARTITIONS=3",
        "--config server.properties",
        "SIGTERM",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let (flag, variable, file) = ("1. flags", "2. the environment", "3. a properties file");
    let at = |part| text.find(part).expect(part);
    assert!(
        at(flag) < at(variable) && at(variable) < at(file),
        "in the order of precedence"
    );
}

#[test]
fn a_wrong_config_is_refused_with_its_key_its_value_and_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let cases = [
        ("compression.type=brotli", ["compression.type", "brotli", "zstd"]),
        ("num.partitions=0", ["num.partitions", "0", "1"]),
        ("no.such.key=1", ["no.such.key", "unknown", ""]),
        ("without-a-value", ["without-a-value", "=", ""]),
    ];
    for (set, parts) in cases {
        let mut refused = command(&data);
        refused.args(["--set", set]);
        let output = run(refused);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
        assert!(
            text.starts_with("highwater: ") && text.trim_end().lines().count() == 1,
            "one line: {text}"
        );
    }
    assert!(!data.exists(), "nothing was touched");
}

#[test]
fn a_second_process_on_the_same_folder_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Highwater::start(dir.path(), &[]);
    let output = run(command(dir.path()));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let folder = dir.path().to_string_lossy().into_owned();
    assert!(text.contains("in use") && text.contains(&folder), "{text}");
    assert!(
        text.contains(&first.pid().to_string()),
        "the process id {} in {text}",
        first.pid()
    );
    first.connect().create("t");
    first.stop();
}
