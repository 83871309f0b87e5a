use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_broker::partitions::RecoveredLogs;
use highwater_node::clock::Clock;
use highwater_proto::config::StaticValues;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, ConfigResource, Partition};
use highwater_proto::types::{LeaderEpoch, PartitionIndex, TimestampMs, TopicId};
use uuid::Uuid;

use crate::fetch::{only, request as fetch_request, values};
use crate::produce::produce;
use crate::support::{Client, LIMIT, NODE, TestBroker, batch, sequenced, sequenced_at, topic_id};

#[tokio::test]
async fn records_and_producers_survive_a_restart() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(
        produce(&mut client, "t", -1, sequenced(&["a", "b"], 7, 0, 0))
            .await
            .base_offset,
        0
    );
    drop(client);
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    assert_eq!(values(only(&response).records.as_ref()), ["a", "b"]);
    let duplicate = produce(&mut client, "t", -1, sequenced(&["a", "b"], 7, 0, 0)).await;
    assert_eq!((duplicate.error_code, duplicate.base_offset), (0, 0));
    assert_eq!(
        produce(&mut client, "t", -1, sequenced(&["c"], 7, 0, 2))
            .await
            .base_offset,
        2
    );
    let gap = produce(&mut client, "t", -1, sequenced(&["x"], 7, 0, 9)).await;
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
}

#[tokio::test]
async fn producers_are_remembered_over_a_restart_for_as_long_as_is_configured() {
    const KEY: &str = "producer.id.expiration.ms";
    let yesterday = TimestampMs(Clock::system().now_ms().get() - 25 * 60 * 60 * 1000);
    for (fixed, dynamic, remembered) in [
        (&[][..], None, false),
        (&[(KEY, "604800000")], None, true),
        // Known only once the image is, after the logs were opened.
        (&[], Some("604800000"), true),
        (&[(KEY, "604800000")], Some("3600000"), false),
    ] {
        let broker = TestBroker::start_with(fixed).await;
        if let Some(value) = dynamic {
            let values = BTreeMap::from([(KEY.to_owned(), value.to_owned())]);
            broker
                .change(vec![Change::PutConfig(ConfigResource::ClusterDefault, values)])
                .await;
        }
        broker.create("t", 1, &[]).await;
        let mut client = broker.connect().await;
        let sent = || sequenced_at(yesterday, &["a"], 7, 0, 0);
        assert_eq!(produce(&mut client, "t", -1, sent()).await.base_offset, 0);
        drop(client);
        let broker = broker.restart().await;
        let mut client = broker.connect().await;
        let again = produce(&mut client, "t", -1, sent()).await;
        let expected = if remembered { 0 } else { 1 };
        assert_eq!(
            (again.error_code, again.base_offset),
            (0, expected),
            "{fixed:?} {dynamic:?}"
        );
    }
}

#[tokio::test]
async fn indexes_that_a_start_rebuilds_are_as_dense_as_the_broker_was_told() {
    for (fixed, entries) in [(&[][..], 0), (&[("log.index.interval.bytes", "0")], 2)] {
        let mut broker = TestBroker::start_with(fixed).await;
        broker.create("t", 1, &[]).await;
        let mut client = broker.connect().await;
        for value in ["a", "b", "c"] {
            assert_eq!(produce(&mut client, "t", -1, batch(&[value])).await.error_code, 0);
        }
        drop(client);
        // The old process goes before its files are touched.
        let kept = broker.stop().await;
        let index = kept.path().join("t-0/00000000000000000000.index");
        assert_eq!(std::fs::metadata(&index).unwrap().len(), entries * 8);
        std::fs::remove_file(&index).unwrap();
        drop(broker);
        let fixed = StaticValues {
            values: fixed
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..StaticValues::default()
        };
        let recovered = RecoveredLogs::open(kept.path(), &fixed, Clock::system().now_ms()).unwrap();
        drop(recovered);
        assert_eq!(std::fs::metadata(&index).unwrap().len(), entries * 8);
    }
}

#[tokio::test]
async fn a_deleted_topic_leaves_room_for_one_of_the_same_name() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["old"])).await.error_code, 0);
    broker.delete("t").await;
    assert!(broker.broker.partitions().get(topic_id("t"), 0.into()).is_none());
    let names = || -> Vec<String> {
        std::fs::read_dir(broker.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("t-0"))
            .collect()
    };
    assert!(names().iter().all(|name| name.ends_with("-delete")), "{:?}", names());
    broker.create("t", 1, &[]).await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["new"])).await.base_offset, 0);
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    assert_eq!(values(only(&response).records.as_ref()), ["new"]);
}

#[tokio::test]
async fn partitions_that_the_cluster_does_not_know_are_moved_aside_not_deleted() {
    let mut broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["a"])).await.error_code, 0);
    drop(client);
    let dir = broker.stop().await;
    drop(broker);
    // The image of the next start has never heard of the topic.
    let broker = TestBroker::start_on(dir).await;
    let names: Vec<String> = std::fs::read_dir(broker.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("t-0"))
        .collect();
    assert_eq!(names.len(), 1);
    assert!(names[0].ends_with("-stray"), "{names:?}");
}

#[tokio::test]
async fn what_a_restored_store_does_not_know_is_moved_aside_by_a_running_broker() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[("file.delete.delay.ms", "1")]).await;
    let mut client = broker.connect().await;
    for value in ["a", "b"] {
        assert_eq!(produce(&mut client, "t", -1, batch(&[value])).await.error_code, 0);
    }
    let seen = broker.broker.image().revision;
    broker.restore().await;
    assert!(broker.broker.image().revision <= seen, "lower, and newer all the same");
    let deadline = Instant::now() + LIMIT;
    while directories(&broker) != ["stray"] {
        assert!(Instant::now() < deadline, "{:?}", directories(&broker));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A deletion that the restored store decides is one.
    broker.create("t", 1, &[]).await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["c"])).await.base_offset, 0);
    broker.delete("t").await;
    assert_eq!(directories(&broker), ["delete", "stray"]);
}

/// The topic `t` with another id than that of its name.
fn other_topic() -> (TopicId, Vec<Change>) {
    let topic_id = TopicId(Uuid::from_u128(0x0ddba11));
    let alone = Partition {
        replicas: vec![NODE],
        isr: vec![NODE],
        leader: Some(NODE),
        leader_epoch: LeaderEpoch(0),
        ..Partition::default()
    };
    let topic = Change::PutTopic {
        name: "t".to_owned(),
        topic_id,
        partition_count: 1,
        configs: BTreeMap::new(),
        owner: None,
    };
    (
        topic_id,
        vec![Change::PutPartition(topic_id, PartitionIndex(0), alone), topic],
    )
}

fn deletion() -> Change {
    Change::DeleteTopic {
        name: "t".to_owned(),
        topic_id: topic_id("t"),
    }
}

async fn all_values(client: &mut Client) -> Vec<String> {
    let response = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    values(only(&response).records.as_ref())
}

/// The directories of `t-0`: its own, deleted ones, those that were moved aside.
fn directories(broker: &TestBroker) -> Vec<String> {
    let names = std::fs::read_dir(broker.data_dir()).unwrap();
    let kind = |name: String| match name.rsplit_once('-') {
        Some((_, "0")) => "in use".to_owned(),
        Some((_, kind)) => kind.to_owned(),
        None => name,
    };
    let mut found: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("t-0"))
        .map(kind)
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_topic_that_was_created_again_begins_empty_at_once_and_after_restarts() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    for value in ["old", "older"] {
        assert_eq!(produce(&mut client, "t", -1, batch(&[value])).await.error_code, 0);
    }
    // Both in one image, as a slow broker sees it.
    let (id, mut changes) = other_topic();
    changes.insert(0, deletion());
    broker.change(changes).await;
    assert_eq!(all_values(&mut client).await, Vec::<String>::new());
    assert_eq!(produce(&mut client, "t", -1, batch(&["new"])).await.base_offset, 0);
    assert_eq!(all_values(&mut client).await, ["new"]);
    let mut by_old_id = fetch_request(13, "t", 0, 0);
    let answer = client.call(13, &by_old_id).await;
    assert_eq!(only(&answer).error_code, ErrorCode::UnknownTopicId.code());
    by_old_id.topics[0].topic_id = id.0;
    assert_eq!(
        values(only(&client.call(13, &by_old_id).await).records.as_ref()),
        ["new"]
    );
    assert_eq!(directories(&broker), ["delete", "in use"]);

    drop(client);
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    assert_eq!(all_values(&mut client).await, ["new"]);
    assert_eq!(
        directories(&broker),
        ["in use"],
        "a deletion that was interrupted is finished by the next start"
    );
}

#[tokio::test]
async fn a_topic_that_was_created_again_while_the_broker_was_away_begins_empty() {
    let broker = TestBroker::start().await;
    broker.create("t", 1, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(produce(&mut client, "t", -1, batch(&["old"])).await.error_code, 0);
    drop(client);
    let mut changes = other_topic().1;
    changes.insert(0, deletion());
    let broker = broker.restart_after(changes).await;
    let mut client = broker.connect().await;
    assert_eq!(all_values(&mut client).await, Vec::<String>::new());
    assert_eq!(produce(&mut client, "t", -1, batch(&["new"])).await.base_offset, 0);
    assert_eq!(directories(&broker), ["in use", "stray"], "nothing is deleted at sight");
    drop(client);
    let broker = broker.restart().await;
    assert_eq!(all_values(&mut broker.connect().await).await, ["new"]);
}

#[tokio::test]
async fn the_files_of_a_deleted_topic_stay_for_file_delete_delay_ms() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (delay, expected) in [("0", &[][..]), ("600000", &["delete"])] {
        broker.create("t", 1, &[("file.delete.delay.ms", delay)]).await;
        assert_eq!(produce(&mut client, "t", -1, batch(&["a"])).await.error_code, 0);
        broker.delete("t").await;
        let gone = async {
            while directories(&broker) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect(delay);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(directories(&broker), ["delete"]);
}

/// Copies files and the folders right below, as they are now. `NotFound`: a file went while its folder was read.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&to)?;
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The broker is killed now: what its directory says then of its replicas.
fn untrusted_if_killed(broker: &TestBroker) -> Vec<TopicId> {
    // The broker goes on while its files are copied: a copy during which one was renamed is none of a moment.
    let copy = loop {
        let copy = tempfile::tempdir().unwrap();
        match copy_folder(broker.data_dir(), copy.path()) {
            Ok(()) => break copy,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    };
    let recovered = RecoveredLogs::open(copy.path(), &StaticValues::default(), Clock::system().now_ms()).unwrap();
    assert!(!recovered.report().clean);
    let untrusted = recovered.report().untrusted.iter();
    untrusted.map(|replica| replica.topic_id).collect()
}

#[tokio::test]
async fn a_killed_broker_names_the_replicas_that_may_have_acknowledged_from_the_page_cache() {
    let mut broker = TestBroker::start().await;
    let configs = |value: &str| BTreeMap::from([("write.caching".to_owned(), value.to_owned())]);
    let set = |value: &str| Change::PutTopic {
        name: "cached".to_owned(),
        topic_id: topic_id("cached"),
        partition_count: 1,
        configs: configs(value),
        owner: None,
    };
    broker.create("cached", 1, &[("write.caching", "true")]).await;
    broker.create("synced", 1, &[]).await;
    let mut client = broker.connect().await;
    for topic in ["cached", "synced"] {
        assert_eq!(produce(&mut client, topic, -1, batch(&["a"])).await.error_code, 0);
    }
    let untrusted = async |expected: &[&str]| {
        let mut expected: Vec<TopicId> = expected.iter().map(|name| topic_id(name)).collect();
        expected.sort();
        let reached = async {
            loop {
                let mut untrusted = untrusted_if_killed(&broker);
                untrusted.sort();
                if untrusted == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap();
    };
    untrusted(&["cached"]).await;
    // Turned off, all is flushed soon, and the flusher takes the name away within a second.
    broker.change(vec![set("false")]).await;
    untrusted(&[]).await;
    // Turned on again by the broker's default, for all topics that do not say otherwise.
    broker.change(vec![set("true")]).await;
    let defaults = BTreeMap::from([("log.write.caching".to_owned(), "true".to_owned())]);
    broker
        .change(vec![Change::PutConfig(ConfigResource::ClusterDefault, defaults)])
        .await;
    untrusted(&["cached", "synced"]).await;
    drop(client);
    let dir = broker.stop().await;
    drop(broker);
    let recovered = RecoveredLogs::open(dir.path(), &StaticValues::default(), Clock::system().now_ms()).unwrap();
    assert_eq!(recovered.report().untrusted, [], "a clean stop trusts all");
}

#[tokio::test]
async fn retention_never_takes_files_of_a_topic_that_was_created_again() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (serving, stopped) = (Arc::clone(&broker.broker), Arc::clone(&stop));
    let retention = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let _ = serving.partitions().retention();
        }
    });
    for round in 0..40 {
        // Records of 1970: due at once.
        broker.create("t", 1, &[("retention.ms", "1")]).await;
        assert_eq!(produce(&mut client, "t", -1, batch(&["old"])).await.error_code, 0);
        let (topic_id, mut changes) = other_topic();
        changes.insert(0, deletion());
        broker.change(changes).await;
        let now = sequenced(&["new"], 7, 0, 0);
        assert_eq!(produce(&mut client, "t", -1, now).await.base_offset, 0);
        // What is deleted later than at once has its time.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let segment = broker.data_dir().join("t-0/00000000000000000000.log");
        assert!(segment.exists(), "round {round}");
        let name = "t".to_owned();
        broker.change(vec![Change::DeleteTopic { name, topic_id }]).await;
    }
    stop.store(true, Ordering::Relaxed);
    retention.join().unwrap();
}
