//! What Highwater does not start with: it says why, and harms nothing.

use highwater_e2e::broker::Highwater;
use highwater_e2e::disk::Disk;
use highwater_e2e::raw::{Producer, batch};
use std::time::Duration;

/// Starts it, expects it to end by itself with an error, and returns what it wrote.
fn refusal(mut highwater: Highwater) -> String {
    highwater.spawn();
    let status = highwater.wait(Duration::from_secs(20));
    assert!(!status.success(), "it ends with an error:\n{}", highwater.log());
    let log = highwater.log();
    assert!(!log.contains("panicked"), "an error, not a panic:\n{log}");
    log
}

#[test]
fn a_wrong_config_names_key_value_and_what_is_allowed() {
    let cases = [
        ("num.partitions", "0", "1"),
        ("num.partitions", "many", "number"),
        ("compression.type", "brotli", "zstd"),
        ("log.message.timestamp.type", "Yesterday", "LogAppendTime"),
        ("auto.create.topics.enable", "maybe", "true"),
        ("log.segment.bytes", "12", "1048576"),
    ];
    for (key, value, allowed) in cases {
        let log = refusal(Highwater::new().set(key, value));
        for part in [key, value, allowed] {
            assert!(log.contains(part), "{key}={value} is refused naming {part}:\n{log}");
        }
    }
    let log = refusal(Highwater::new().set("no.such.key", "1"));
    assert!(log.contains("no.such.key") && log.contains("unknown"), "{log}");
}

#[test]
fn flag_beats_environment_beats_file() {
    let partitions = |flag: Option<&str>, environment: Option<&str>| {
        let mut highwater = Highwater::new();
        let file = highwater.scratch().join("server.properties");
        std::fs::write(&file, "# as Kafka's\nnum.partitions=3\n").expect("a file of ours");
        highwater = highwater.flag("--config", &file.to_string_lossy());
        if let Some(value) = environment {
            highwater = highwater.env("HIGHWATER_NUM_PARTITIONS", value);
        }
        if let Some(value) = flag {
            highwater = highwater.set("num.partitions", value);
        }
        highwater.start();
        let mut raw = highwater.raw();
        // -1: as many partitions as the broker's default says.
        raw.create_code("t", -1, -1, &[]).expect("create");
        raw.metadata("t").expect("metadata").topics[0].partitions.len()
    };
    assert_eq!(partitions(None, None), 3);
    assert_eq!(partitions(None, Some("4")), 4);
    assert_eq!(partitions(Some("5"), Some("4")), 5);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let mut first = Highwater::new();
    first.start();
    first.raw().create("t", 1, &[]).expect("create");
    let log = refusal(Highwater::new().data_in(first.data_dir()));
    let folder = first.data_dir().to_string_lossy().into_owned();
    assert!(log.contains(&folder), "it names the folder {folder}:\n{log}");
    assert!(
        log.contains("another process") || log.contains("in use") || log.contains("lock"),
        "{log}"
    );
    let (code, _) = first
        .raw()
        .produce("t", 0, batch(&[(None, "v")], Producer::NONE))
        .expect("an answer");
    assert_eq!(code, 0, "the first one is not disturbed");
}

#[test]
fn a_taken_port_is_refused() {
    let mut first = Highwater::new();
    first.start();
    let log = refusal(Highwater::new().listen(&first.bootstrap()));
    assert!(log.contains(&first.bootstrap()), "it names the address:\n{log}");
}

#[test]
fn a_read_only_disk_is_refused_and_harms_nothing() {
    let disk = Disk::new(256);
    let mut highwater = Highwater::new().data_in(&disk.path().join("data"));
    highwater.start();
    let mut raw = highwater.raw();
    raw.create("t", 1, &[]).expect("create");
    raw.produce("t", 0, batch(&[(None, "kept")], Producer::NONE))
        .expect("an answer");
    assert!(highwater.terminate().success());
    disk.read_only();
    highwater.spawn();
    assert!(!highwater.wait(Duration::from_secs(20)).success());
    let log = highwater.log().to_lowercase();
    assert!(log.contains("read-only"), "it says why:\n{log}");
    disk.read_write();
    highwater.start();
    let records = highwater.raw().records("t", 0).expect("the partition");
    assert_eq!(records.len(), 1, "nothing is lost");
}
