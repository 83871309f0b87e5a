//! The soft disk limit: a disk that is nearly full refuses producers before it is full, everything else goes on, and it
//! heals by itself. Real producers wait meanwhile, lose nothing and go on by themselves.

use highwater_e2e::broker::Highwater;
use highwater_e2e::client::{Client as _, Driver, Pair, Settings, wait_until};
use highwater_e2e::disk::{Disk, fill};
use highwater_e2e::raw::{Producer, Raw, batch, group_id, text, topic_name};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

const STORAGE_ERROR: i16 = 56;
/// Of the test's disk: its reserve is 5 %, about 25 MiB, its soft limit 10 %.
const DISK_MIB: u32 = 512;

fn produce(raw: &mut Raw, value: &str) -> i16 {
    raw.produce("t", 0, batch(&[(None, value)], Producer::NONE))
        .expect("an answer")
        .0
}

fn commit(raw: &mut Raw, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    raw.call(7, &request).expect("an answer").topics[0].partitions[0].error_code
}

fn started(disk: &Disk) -> Highwater {
    let mut highwater = Highwater::new().data_in(&disk.path().join("data"));
    highwater.start();
    highwater.raw().create("t", 1, &[]).expect("create");
    highwater
}

#[test]
fn producers_are_refused_while_everything_else_goes_on() {
    let disk = Disk::new(DISK_MIB);
    let highwater = started(&disk);
    let mut raw = highwater.raw();
    assert_eq!(produce(&mut raw, "before"), 0);
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    wait_until("the coordinator serves", Duration::from_secs(20), || {
        raw.call(4, &find).expect("an answer");
        commit(&mut raw, 0) == 0
    });

    let filler = fill(&disk.path(), 20 << 20).expect("a filler");
    wait_until("producers are refused", Duration::from_secs(5), || {
        produce(&mut raw, "refused?") == STORAGE_ERROR
    });
    let end = raw.offset("t", 0, -1).expect("the end");
    assert_eq!(produce(&mut raw, "refused"), STORAGE_ERROR);
    assert_eq!(raw.offset("t", 0, -1).expect("the end"), end, "nothing was written");
    assert_eq!(
        raw.records("t", 0).expect("records").len() as i64,
        end,
        "consumers read on"
    );
    assert_eq!(commit(&mut raw, 1), 0, "offsets are committed into the reserve");
    raw.create("u", 1, &[]).expect("topics are created");
    let log = highwater.log();
    assert!(log.contains("full but for the reserve"), "the log says why:\n{log}");

    std::fs::remove_file(filler).expect("the filler");
    wait_until("it takes records again", Duration::from_secs(5), || {
        produce(&mut raw, "after") == 0
    });
}

#[test]
fn a_soft_limit_that_the_disk_is_too_small_for_is_cut_and_said() {
    let disk = Disk::new(DISK_MIB);
    let mut highwater = Highwater::new()
        .data_in(&disk.path().join("data"))
        .set("disk.soft.free.bytes", "10737418240");
    highwater.start();
    let log = highwater.log();
    let line = log.lines().find(|line| line.contains("more than a tenth of the disk"));
    let line = line.unwrap_or_else(|| panic!("not a word of it:\n{log}"));
    let figure = |name: &str| -> Option<u32> {
        let (_, rest) = line.split_once(name)?;
        let digits = rest.trim_start_matches(['=', ':', '"']);
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    assert_eq!(figure("wanted_mib"), Some(10_240), "{line}");
    // The file system keeps some of the disk for itself.
    let holds = figure("soft_mib").expect("a figure");
    assert!((DISK_MIB / 12..=DISK_MIB / 10).contains(&holds), "{line}");
}

#[test]
fn producers_are_slowed_down_first() {
    let disk = Disk::new(DISK_MIB);
    let highwater = started(&disk);
    let mut raw = highwater.raw();
    assert_eq!(produce(&mut raw, "before"), 0);
    let filler = fill(&disk.path(), 36 << 20).expect("a filler");
    wait_until("a record takes a while", Duration::from_secs(5), || {
        let began = Instant::now();
        produce(&mut raw, "slow") == 0 && began.elapsed() > Duration::from_millis(200)
    });
    std::fs::remove_file(filler).expect("the filler");
}

#[test]
fn real_producers_wait_lose_nothing_and_go_on_by_themselves() {
    let disk = Disk::new(DISK_MIB);
    let highwater = started(&disk);
    let bootstrap = highwater.bootstrap();
    let rdkafka = || Command::new(env!("CARGO_BIN_EXE_rdkafka-driver"));
    let drivers = [
        ("java", Driver::java(&bootstrap)),
        ("rdkafka", Driver::rdkafka(rdkafka, &bootstrap)),
        ("python", Driver::python(&bootstrap)),
        ("franz-go", Driver::franz_go(&bootstrap)),
    ];
    let mut raw = highwater.raw();
    assert_eq!(produce(&mut raw, "before"), 0);
    let filler = fill(&disk.path(), 20 << 20).expect("a filler");
    wait_until("producers are refused", Duration::from_secs(5), || {
        produce(&mut raw, "refused?") == STORAGE_ERROR
    });
    let sending: Vec<_> = drivers
        .into_iter()
        .map(|(name, mut driver)| {
            std::thread::spawn(move || {
                let records: Vec<Pair> = (0..50).map(|i| (None, format!("{name} {i}"))).collect();
                let settings = Settings {
                    idempotent: true,
                    ..Settings::default()
                };
                driver.produce("t", settings, &records);
            })
        })
        .collect();
    // Longer than a client that takes the error for final would go on.
    std::thread::sleep(Duration::from_secs(4));
    let waiting = sending.iter().filter(|sender| !sender.is_finished()).count();
    assert_eq!(waiting, 4, "nobody gave up, and nobody was told that it succeeded");
    std::fs::remove_file(filler).expect("the filler");
    for sender in sending {
        sender.join().expect("it sends all");
    }
    let values: Vec<String> = raw
        .records("t", 0)
        .expect("records")
        .iter()
        .map(|r| String::from_utf8_lossy(r.value.as_ref().expect("a value")).into_owned())
        .filter(|value| value.contains(' '))
        .collect();
    let distinct: BTreeSet<&String> = values.iter().collect();
    assert_eq!((values.len(), distinct.len()), (200, 200), "each once");
}
