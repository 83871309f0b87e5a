//! etcd is restored from a backup while the cluster runs: the controllers notice it and decide nothing until they are
//! told, as `docs/operations.md` says; then what the backup knew is served, and what it does not know is kept aside.

use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Kind, Plan, binary};
use highwater_e2e::etcdctl;
use highwater_e2e::raw::{group_id, text, topic_name};
use highwater_e2e::routed::Routed;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PARTITIONS: i32 = 2;
const RECORDS: usize = 20;
const WAIT: Duration = Duration::from_secs(30);
/// Known to the backup.
const KEPT: &str = "kept";
/// Created after it.
const LATER: &str = "later";
/// Deleted after it.
const DELETED: &str = "deleted";
/// The broker that is started again after the backup.
const RESTARTED: (Kind, usize) = (Kind::Broker, 2);

fn controllers(cluster: &Cluster) -> Vec<(Kind, usize)> {
    (0..cluster.plan().controllers).map(|n| (Kind::Controller, n)).collect()
}

/// Records `from..to` of each partition; the answers are the offsets in order.
fn produce(raw: &mut Routed, topic: &str, partitions: i32, numbers: std::ops::Range<usize>) {
    for partition in 0..partitions {
        for number in numbers.clone() {
            let offset = raw.produce_once_in(topic, partition, &format!("{topic} {partition} {number}"), WAIT);
            assert_eq!(offset, number as i64, "{topic}-{partition}");
        }
    }
}

fn check_records(raw: &mut Routed, topic: &str, partitions: i32, count: usize) {
    for partition in 0..partitions {
        let records = raw.records(topic, partition).expect("the records");
        let found: Vec<String> = records
            .iter()
            .map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into_owned())
            .collect();
        let wanted: Vec<String> = (0..count).map(|n| format!("{topic} {partition} {n}")).collect();
        assert_eq!(found, wanted, "{topic}-{partition}");
    }
}

fn commit(raw: &mut Routed, group: &str, topic: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    // Asked for the first time, it creates the topic of the offsets.
    let find = FindCoordinatorRequest::default().with_key(text(group));
    wait_until("the offset is committed", WAIT, || {
        let _ = raw.any(|raw| raw.call(3, &find));
        let answer = raw.any(|raw| raw.call(8, &request));
        answer.is_ok_and(|answer| answer.topics[0].partitions[0].error_code == 0)
    });
}

/// The revision that a controller names in what it says of its readiness.
fn seen_revision(said: &str) -> Option<i64> {
    let (_, rest) = said.split_once("restore --seen-revision ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Folders of a topic's partitions in a broker's data directory that were moved aside.
fn strays(cluster: &Cluster, broker: usize, topic: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cluster.data_dir((Kind::Broker, broker))).expect("the data directory");
    let paths = entries.flatten().map(|entry| entry.path());
    let is_stray = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{topic}-0.")) && name.ends_with("-stray")
    };
    paths.filter(is_stray).collect()
}

fn segment_bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("00000000000000000000.log")).expect("the segment")
}

fn restore_command(cluster: &Cluster, seen: i64) -> Command {
    let mut command = Command::new(binary(Kind::Controller));
    // A `HIGHWATER_...` that names no config is refused: the settings of the suites are none.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HIGHWATER_") {
            command.env_remove(name);
        }
    }
    command.args(["--etcd", &cluster.clients((Kind::Etcd, 0))]);
    command.args(["restore", "--seen-revision", &seen.to_string()]);
    command
}

/// A cluster, the backup of its etcd, and what happened since.
fn with_a_backup() -> (Cluster, Routed, PathBuf) {
    let mut cluster = Cluster::start(Plan::default());
    let mut raw = cluster.raw();
    raw.create(KEPT, PARTITIONS, &[]).expect("create");
    raw.create(DELETED, 1, &[]).expect("create");
    produce(&mut raw, KEPT, PARTITIONS, 0..RECORDS);
    produce(&mut raw, DELETED, 1, 0..RECORDS);
    commit(&mut raw, "readers", KEPT, 3);
    let backup = cluster.scratch().join("etcd.backup");
    etcdctl::back_up(&cluster, &backup);

    // All of this is not in the backup.
    raw.create(LATER, 1, &[]).expect("create");
    produce(&mut raw, LATER, 1, 0..RECORDS);
    produce(&mut raw, KEPT, PARTITIONS, RECORDS..2 * RECORDS);
    commit(&mut raw, "readers", KEPT, 7);
    raw.delete(DELETED).expect("delete");
    for number in 0..20 {
        let (code, message) = raw
            .any(|raw| raw.create_code(&format!("later-{number}"), 1, -1, &[]))
            .expect("an answer");
        assert_eq!(code, 0, "{message:?}");
    }
    assert!(cluster.process(RESTARTED).terminate().success());
    cluster.process(RESTARTED).start();
    cluster.wait_all_ready();
    raw.wait_for_isr(LATER, 3, WAIT);
    raw.wait_for_isr(KEPT, 3, WAIT);
    (cluster, raw, backup)
}

/// Waits until no controller decides, and each says what to do. Answers the highest revision that they name.
fn noticed(cluster: &Cluster) -> i64 {
    let mut seen: Vec<Option<i64>> = Vec::new();
    wait_until("all controllers say what to do", WAIT, || {
        let said = controllers(cluster).into_iter().map(|id| cluster.readiness(id));
        seen = said.map(|said| seen_revision(&said.ok()?)).collect();
        seen.iter().all(Option::is_some) && controllers(cluster).into_iter().all(|id| !cluster.is_ready(id))
    });
    seen.into_iter().flatten().max().expect("a controller")
}

fn run_restore(cluster: &Cluster, seen: i64) {
    let output = restore_command(cluster, seen).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "restore failed:\n{said}");
}

/// The registration of one broker is not in the backup: it ends, says why, and is started again.
fn rejoin(cluster: &mut Cluster) {
    let status = cluster.process(RESTARTED).wait(WAIT);
    assert_eq!(status.code(), Some(1), "{}", cluster.process(RESTARTED).log_tail(20));
    let log = cluster.process(RESTARTED).log();
    assert!(log.contains("the process has to start again"), "{log}");
    cluster.process(RESTARTED).start();
    cluster.wait_all_ready();
}

/// What the backup knew is served, with what was written since; what it did not know is aside. So many records are there.
fn check(cluster: &mut Cluster, raw: &mut Routed, records: usize) {
    raw.wait_for_isr(KEPT, 3, WAIT);
    produce(raw, KEPT, PARTITIONS, records..records + RECORDS);
    check_records(raw, KEPT, PARTITIONS, records + RECORDS);
    wait_until("the group has its newest offset", WAIT, || {
        raw.committed("readers", KEPT, PARTITIONS)
            .is_ok_and(|offsets| offsets == [7, -1])
    });
    raw.wait_for_isr(DELETED, 3, WAIT);
    check_records(raw, DELETED, 1, 0);
    for broker in 0..cluster.plan().brokers {
        let address = cluster.kafka(broker);
        wait_until("no broker knows the later topic", WAIT, || {
            raw.at(&address, |raw| raw.partitions(LATER))
                .is_ok_and(|count| count == 0)
        });
        wait_until("its replica is moved aside", WAIT, || {
            strays(cluster, broker, LATER).len() == 1
        });
        let kept = segment_bytes(&strays(cluster, broker, LATER)[0]);
        let last = format!("{LATER} 0 {}", RECORDS - 1);
        let has_all = kept.windows(last.len()).any(|bytes| bytes == last.as_bytes());
        assert!(has_all, "all its records are kept on broker {}", broker + 1);
    }
    raw.create(LATER, 1, &[]).expect("the name is free");
    check_records(raw, LATER, 1, 0);
    produce(raw, LATER, 1, 0..RECORDS);
    // And once more, after everything was started anew. Brokers that stop together do not wait for each other.
    let brokers = || (0..3).map(|broker| (Kind::Broker, broker));
    brokers().for_each(|id| cluster.process(id).ask_to_stop());
    for id in brokers() {
        assert!(cluster.process(id).wait(WAIT).success());
    }
    cluster.stop();
    cluster.start_all();
    raw.wait_for_isr(KEPT, 3, WAIT);
    check_records(raw, KEPT, PARTITIONS, records + RECORDS);
    check_records(raw, LATER, 1, RECORDS);
    assert!((0..3).all(|broker| strays(cluster, broker, LATER).len() == 1));
}

#[test]
fn controllers_notice_a_backup_and_the_cluster_goes_on_from_it() {
    let (mut cluster, mut raw, backup) = with_a_backup();
    etcdctl::restore(&mut cluster, &backup, &[]);
    let seen = noticed(&cluster);
    // Brokers go on with what they know.
    check_records(&mut raw, LATER, 1, RECORDS);
    produce(&mut raw, KEPT, PARTITIONS, 2 * RECORDS..3 * RECORDS);
    assert!((0..3).all(|broker| strays(&cluster, broker, LATER).is_empty()));
    run_restore(&cluster, seen);
    rejoin(&mut cluster);
    check(&mut cluster, &mut raw, 3 * RECORDS);
}

#[test]
fn the_cluster_goes_on_from_a_backup_that_was_restored_with_another_revision() {
    let (mut cluster, mut raw, backup) = with_a_backup();
    let revision = |text: String| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix("highwater_controller_metadata_revision "))?;
        value.trim().parse::<f64>().ok()
    };
    let seen = controllers(&cluster)
        .into_iter()
        .map(|id| cluster.metrics(id).expect("metrics"));
    let seen = seen.filter_map(revision).fold(0.0, f64::max) as i64;
    assert!(seen > 0);
    for id in controllers(&cluster) {
        cluster.process(id).kill9();
    }
    let bump = ["--bump-revision", "1000000000", "--mark-compacted"];
    etcdctl::restore(&mut cluster, &backup, &bump);
    run_restore(&cluster, seen);
    for id in controllers(&cluster) {
        cluster.process(id).start();
    }
    rejoin(&mut cluster);
    check(&mut cluster, &mut raw, 2 * RECORDS);
}
