//! What a cluster costs while nobody uses it, and what ten thousand partitions cost. The limits are those of release
//! builds; `HIGHWATER_E2E_PARTITIONS` sets another number of partitions (10,000).

use highwater_e2e::client::wait_until;
use highwater_e2e::cluster::{Cluster, Id, Kind, Plan, name};
use highwater_e2e::raw::{Producer, batch, topic_name};
use highwater_e2e::routed::{Routed, leader_address};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{MetadataResponse, ProduceRequest};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const IDLE_MIB: u64 = 300;
/// Two hundredths of a core.
const IDLE_CPU: f64 = 0.02;
const WATCHED: Duration = Duration::from_secs(20);
/// A broker may have no more files open than this: the usual limit of a process is 20,000 here.
const OPEN_FILES: usize = 15_000;
const TOPIC: &str = "many";
const NOT_LEADER: i16 = 6;

fn ours(cluster: &Cluster) -> Vec<Id> {
    let all = cluster.plan().ids();
    all.into_iter().filter(|id| id.0 != Kind::Etcd).collect()
}

#[test]
fn an_idle_cluster_needs_little_memory_and_next_to_no_cpu() {
    let mut cluster = Cluster::start(Plan::default());
    // Sessions, elections and the first heartbeats are over by then.
    std::thread::sleep(Duration::from_secs(5));
    let ids = ours(&cluster);
    let cpu = |cluster: &mut Cluster, id| cluster.process(id).cpu();
    let before: Vec<Duration> = ids.iter().map(|id| cpu(&mut cluster, *id)).collect();
    let etcd = (Kind::Etcd, 0);
    let etcd_before = cpu(&mut cluster, etcd);
    std::thread::sleep(WATCHED);
    let (mut memory, mut used) = (0, Duration::ZERO);
    for (id, before) in ids.iter().zip(before) {
        let (rss, cpu) = (cluster.process(*id).rss_kib(), cpu(&mut cluster, *id) - before);
        eprintln!(
            "{}: {:.1} MiB, {:.2} % of a core",
            name(*id),
            rss as f64 / 1024.0,
            share(cpu)
        );
        memory += rss;
        used += cpu;
    }
    let etcd_used = cpu(&mut cluster, etcd) - etcd_before;
    let etcd_memory = cluster.process(etcd).rss_kib() / 1024;
    eprintln!(
        "beside them etcd: {etcd_memory} MiB, {:.2} % of a core",
        share(etcd_used)
    );
    eprintln!("all eight: {} MiB, {:.2} % of a core", memory / 1024, share(used));
    assert!(memory / 1024 <= IDLE_MIB, "{} MiB", memory / 1024);
    assert!(share(used) / 100.0 <= IDLE_CPU, "{:.2} % of a core", share(used));
}

fn share(cpu: Duration) -> f64 {
    100.0 * cpu.as_secs_f64() / WATCHED.as_secs_f64()
}

#[test]
fn ten_thousand_partitions_are_created_written_restarted_and_failed_over() {
    let partitions = std::env::var("HIGHWATER_E2E_PARTITIONS").map_or(10_000, |v| v.parse().expect("a number"));
    let mut cluster = Cluster::start(Plan::default());
    let mut raw = cluster.raw().patience(Duration::from_secs(120));
    let idle = memory(&mut cluster);
    let began = Instant::now();
    let created = raw
        .any(|raw| raw.create_code(TOPIC, partitions, 3, &[]))
        .expect("an answer");
    assert_eq!(created.0, 0, "{created:?}");
    let metadata = led(&mut raw, partitions, 3);
    eprintln!("{partitions} partitions created in {:?}", began.elapsed());

    let began = Instant::now();
    write_each(&mut raw, partitions);
    eprintln!("each written once in {:?}", began.elapsed());
    for (id, before) in idle {
        let process = cluster.process(id);
        let (now, files) = (process.rss_kib(), process.open_files());
        let each = now.saturating_sub(before) as f64 / f64::from(partitions);
        eprintln!(
            "{}: {} MiB, {each:.2} KiB a partition, {files} open files",
            name(id),
            now / 1024
        );
        assert!(files < OPEN_FILES, "{} has {files} files open", name(id));
    }

    let victim = (Kind::Broker, 0);
    cluster.process(victim).kill9();
    let began = Instant::now();
    led_by_others(&mut raw, &metadata, partitions);
    eprintln!(
        "kill -9 of a broker: all partitions led by others after {:?}",
        began.elapsed()
    );
    let began = Instant::now();
    cluster.process(victim).start();
    cluster.wait_ready(victim);
    let ready = began.elapsed();
    led(&mut raw, partitions, 3);
    eprintln!(
        "started again: ready after {ready:?}, in sync everywhere after {:?}",
        began.elapsed()
    );
    write_each(&mut raw, partitions);

    let began = Instant::now();
    cluster.stop();
    let stopped = began.elapsed();
    let began = Instant::now();
    cluster.start_all();
    led(&mut raw, partitions, 3);
    eprintln!("all stopped in {stopped:?}, started in {:?}", began.elapsed());
    write_each(&mut raw, partitions);
    for partition in [0, partitions / 2, partitions - 1] {
        assert_eq!(raw.records(TOPIC, partition).expect("a partition").len(), 3);
    }
}

fn memory(cluster: &mut Cluster) -> Vec<(Id, u64)> {
    let ids = ours(cluster);
    ids.into_iter().map(|id| (id, cluster.process(id).rss_kib())).collect()
}

/// Waits until every partition has a leader and so many in-sync replicas.
fn led(raw: &mut Routed, partitions: i32, replicas: usize) -> MetadataResponse {
    wait_for(raw, |metadata| {
        let found = metadata.topics.iter().flat_map(|t| &t.partitions);
        found
            .filter(|p| p.leader_id.0 >= 0 && p.isr_nodes.len() >= replicas)
            .count()
            == partitions as usize
    })
}

/// Waits until no partition is led by the broker of number 1.
fn led_by_others(raw: &mut Routed, before: &MetadataResponse, partitions: i32) {
    let was = before.topics.iter().flat_map(|t| &t.partitions);
    assert!(was.filter(|p| p.leader_id.0 == 1).count() > 0, "broker 1 leads some");
    wait_for(raw, |metadata| {
        let found = metadata.topics.iter().flat_map(|t| &t.partitions);
        found.filter(|p| p.leader_id.0 > 1).count() == partitions as usize
    });
}

fn wait_for(raw: &mut Routed, done: impl Fn(&MetadataResponse) -> bool) -> MetadataResponse {
    let mut last = None;
    wait_until("the partitions are as they should be", Duration::from_secs(180), || {
        last = raw.any(|raw| raw.metadata(TOPIC)).ok().filter(&done);
        last.is_some()
    });
    last.expect("it was found")
}

/// One record to each partition, in requests to their leaders, until all are acknowledged.
fn write_each(raw: &mut Routed, partitions: i32) {
    let mut left: Vec<i32> = (0..partitions).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{} partitions take no record", left.len());
        let metadata = raw.any(|raw| raw.metadata(TOPIC)).expect("metadata");
        let mut by_leader: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for partition in left.drain(..) {
            let address = leader_address(&metadata, partition).expect("a leader");
            by_leader.entry(address).or_default().push(partition);
        }
        for (address, list) in by_leader {
            for some in list.chunks(500) {
                left.extend(write(raw, &address, some));
            }
        }
    }
}

/// One record to each of these; those that have another leader by now.
fn write(raw: &mut Routed, address: &str, partitions: &[i32]) -> Vec<i32> {
    let data = partitions.iter().map(|partition| {
        PartitionProduceData::default()
            .with_index(*partition)
            .with_records(Some(batch(&[(None, "once")], Producer::NONE)))
    });
    let topic = TopicProduceData::default()
        .with_name(topic_name(TOPIC))
        .with_partition_data(data.collect());
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(60_000)
        .with_topic_data(vec![topic]);
    let answer = raw.at(address, |raw| raw.call(9, &request)).expect("an answer");
    let answers = &answer.responses[0].partition_responses;
    let other = answers
        .iter()
        .filter(|p| p.error_code == NOT_LEADER)
        .map(|p| p.index)
        .collect();
    let refused = answers.iter().find(|p| ![0, NOT_LEADER].contains(&p.error_code));
    assert!(refused.is_none(), "{refused:?}");
    other
}
