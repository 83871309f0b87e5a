//! etcd is restored from a backup while the cluster runs: the controllers notice it and decide nothing until they are
//! told, as `docs/operations.md` says; then what the backup knew is served, and what it does not know is kept aside.

use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Kind, Plan, binary};
use highwater_e2e::etcdctl;
use highwater_e2e::raw::{group_id, text, topic_name};
use highwater_e2e::routed::Routed;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest};
use std::path::PathBuf;
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
const RESTARTED: usize = 2;

fn controllers(cluster: &Cluster) -> Vec<(Kind, usize)> {
    (0..cluster.plan().controllers).map(|n| (Kind::Controller, n)).collect()
}

/// Records `from..to` of each partition; the answers are the offsets in order.
fn produce(raw: &mut Routed, topic: &str, partitions: i32, numbers: std::ops::Range<usize>) {
    for partition in 0..partitions {
        for number in numbers.clone() {
            let offset = raw.produce_in(topic, partition, &format!("{topic} {partition} {number}"), WAIT);
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

fn segment_bytes(folder: &PathBuf) -> Vec<u8> {
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

#[test]
fn the_cluster_goes_on_from_a_backup_of_etcd() {
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
    let restarted = (Kind::Broker, RESTARTED);
    assert!(cluster.process(restarted).terminate().success());
    cluster.process(restarted).start();
    cluster.wait_all_ready();
    raw.wait_for_isr(LATER, 3, WAIT);
    raw.wait_for_isr(KEPT, 3, WAIT);

    etcdctl::restore(&mut cluster, &backup);
    cluster.wait_ready((Kind::Etcd, 0));
    let mut seen = 0;
    wait_until("a controller has noticed and says what to do", WAIT, || {
        let said = controllers(&cluster).into_iter().map(|id| cluster.readiness(id));
        seen = said.filter_map(|said| seen_revision(&said.ok()?)).max().unwrap_or(0);
        seen > 0
    });
    wait_until("no controller decides on the old store", WAIT, || {
        controllers(&cluster).into_iter().all(|id| !cluster.is_ready(id))
    });
    // Brokers go on with what they know.
    check_records(&mut raw, LATER, 1, RECORDS);
    produce(&mut raw, KEPT, PARTITIONS, 2 * RECORDS..3 * RECORDS);
    assert!((0..3).all(|broker| strays(&cluster, broker, LATER).is_empty()));

    let output = restore_command(&cluster, seen).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "restore failed:\n{said}");
    // The registration of this one is not in the backup: it ends, and says why.
    let status = cluster.process(restarted).wait(WAIT);
    assert_eq!(status.code(), Some(1), "{}", cluster.process(restarted).log_tail(20));
    let log = cluster.process(restarted).log();
    assert!(log.contains("the process has to start again"), "{log}");
    cluster.process(restarted).start();
    cluster.wait_all_ready();

    // What the backup knew.
    raw.wait_for_isr(KEPT, 3, WAIT);
    produce(&mut raw, KEPT, PARTITIONS, 3 * RECORDS..4 * RECORDS);
    check_records(&mut raw, KEPT, PARTITIONS, 4 * RECORDS);
    wait_until("the group has its newest offset", WAIT, || {
        raw.committed("readers", KEPT, PARTITIONS)
            .is_ok_and(|offsets| offsets == [7, -1])
    });
    raw.wait_for_isr(DELETED, 3, WAIT);
    check_records(&mut raw, DELETED, 1, 0);
    // What it did not.
    for broker in 0..cluster.plan().brokers {
        let address = cluster.kafka(broker);
        wait_until("no broker knows the later topic", WAIT, || {
            raw.at(&address, |raw| raw.partitions(LATER))
                .is_ok_and(|count| count == 0)
        });
        wait_until("its replica is moved aside", WAIT, || {
            strays(&cluster, broker, LATER).len() == 1
        });
        let kept = segment_bytes(&strays(&cluster, broker, LATER)[0]);
        let last = format!("{LATER} 0 {}", RECORDS - 1);
        assert!(
            kept.windows(last.len()).any(|bytes| bytes == last.as_bytes()),
            "all its records are kept on broker {}",
            broker + 1
        );
    }
    raw.create(LATER, 1, &[]).expect("the name is free");
    check_records(&mut raw, LATER, 1, 0);
    produce(&mut raw, LATER, 1, 0..RECORDS);
    check_records(&mut raw, LATER, 1, RECORDS);
    // And once more, for everything that starts anew.
    cluster.stop();
    cluster.start_all();
    raw.wait_for_isr(KEPT, 3, WAIT);
    check_records(&mut raw, KEPT, PARTITIONS, 4 * RECORDS);
    check_records(&mut raw, LATER, 1, RECORDS);
    assert!((0..3).all(|broker| strays(&cluster, broker, LATER).len() == 1));
}
