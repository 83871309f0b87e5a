//! Followers copy, acknowledge by what they flushed, and follow whoever leads.

use std::time::Duration;

use highwater_node::clock::Clock;
use highwater_node::telemetry::Metrics;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::NodeState;
use highwater_proto::types::{NodeId, Offset};
use tokio::time::Instant;

use crate::cluster::{Cluster, fetch, produce, records, until};
use crate::support::batch;

#[tokio::test]
async fn an_acknowledged_record_is_on_all_three() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "3")]).await;
    let mut client = cluster.client(0).await;
    for round in 0..20 {
        let answer = produce(&mut client, "t", 0, -1, batch(&["a", "b"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 2 * round));
        for broker in 0..3 {
            assert!(cluster.log_end(broker, "t") >= 2 * (round + 1), "broker {broker}");
        }
    }
    let data = fetch(&mut client, "t", 0).await;
    assert_eq!((data.high_watermark, records(&data).len()), (40, 40));
    // Followers hear of the high watermark with their next fetch.
    until("followers know the high watermark", || {
        (1..3).all(|broker| cluster.replica(broker, "t", 0).ends().unwrap().high_watermark.get() == 40)
    })
    .await;
}

/// A metric of a broker as a scrape shows it.
fn metric(cluster: &Cluster, broker: usize, name: &str) -> String {
    let broker = &cluster.brokers[broker].broker;
    let registry = Metrics::new(&Clock::system());
    broker.metrics().register(&registry, broker);
    let text = registry.encode().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).to_owned()
}

#[tokio::test]
async fn a_follower_that_stops_leaves_the_isr_and_comes_back() {
    let mut cluster = Cluster::start(&[("replica.lag.time.max.ms", "300")]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "2")]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);

    let dir = cluster.stop(2).await;
    // Acknowledged once the ISR is without it.
    let start = Instant::now();
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["b"])).await.error_code, 0);
    assert!(start.elapsed() > Duration::from_millis(200), "it was waited for");
    assert_eq!(cluster.decided("t").isr, [NodeId(0), NodeId(1)]);
    assert_eq!(
        metric(&cluster, 0, "kafka_server_replicamanager_isrshrinks_total"),
        "1.0"
    );
    assert_eq!(
        metric(&cluster, 0, "kafka_server_replicamanager_underreplicatedpartitions"),
        "1.0"
    );
    let copied = metric(&cluster, 1, "kafka_server_brokertopicmetrics_replicationbytesin_total");
    assert_eq!(copied, format!("{}.0", 2 * batch(&["a"]).len()));
    assert_eq!(
        metric(
            &cluster,
            1,
            "kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"}"
        ),
        "0.0"
    );

    let member = cluster.start_broker(NodeId(2), dir).await;
    cluster.brokers.push(member);
    until("broker 2 is in the ISR again", || cluster.decided("t").isr.len() == 3).await;
    assert_eq!(cluster.log_end(2, "t"), 2);
}

#[tokio::test]
async fn below_min_isr_produce_is_refused_and_reads_go_on() {
    let mut cluster = Cluster::start(&[("replica.lag.time.max.ms", "200")]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "3")]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    cluster.stop(2).await;
    // In the log, and the ISR shrinks below min ISR: the high watermark stays.
    assert_eq!(produce(&mut client, "t", 0, 1, batch(&["b"])).await.error_code, 0);
    until("the ISR shrinks", || cluster.decided("t").isr.len() == 2).await;
    until("the leader knows", || {
        cluster.replica(0, "t", 0).inspect(|replica| replica.isr().len() == 2)
    })
    .await;
    let refused = produce(&mut client, "t", 0, -1, batch(&["c"])).await;
    assert_eq!(refused.error_code, ErrorCode::NotEnoughReplicas.code());
    assert_eq!(
        produce(&mut client, "t", 0, 1, batch(&["d"])).await.error_code,
        0,
        "acks=1 is not checked"
    );
    let data = fetch(&mut client, "t", 0).await;
    assert_eq!(data.high_watermark, 1);
    assert_eq!(records(&data), [("a".to_owned(), 0)]);
}

#[tokio::test]
async fn a_new_leader_has_what_was_acknowledged_and_the_old_one_follows() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "2")]).await;
    let mut client = cluster.client(0).await;
    for _ in 0..5 {
        assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    }
    cluster.elect("t", 1, &[0, 1, 2]).await;
    let refused = produce(&mut client, "t", 0, -1, batch(&["lost"])).await;
    assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower.code());
    let mut client = cluster.client(1).await;
    let answer = produce(&mut client, "t", 0, -1, batch(&["b"])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 5));
    assert_eq!(cluster.log_end(0, "t"), 6);
}

#[tokio::test]
async fn a_log_that_went_another_way_is_cut_where_it_left_the_leaders() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "1")]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a", "b"])).await.error_code, 0);
    // Broker 0 is alone and takes what nobody else gets.
    let dir_2 = cluster.stop(2).await;
    let dir_1 = cluster.stop(1).await;
    cluster.elect("t", 0, &[0]).await;
    assert_eq!(
        produce(&mut client, "t", 0, 1, batch(&["c", "d", "e"]))
            .await
            .error_code,
        0
    );
    let dir_0 = cluster.stop(0).await;

    // An unclean election: the others never saw epoch 1.
    for (id, dir) in [(1, dir_1), (2, dir_2)] {
        let member = cluster.start_broker(NodeId(id), dir).await;
        cluster.brokers.push(member);
    }
    cluster.elect("t", 1, &[1]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["x"])).await.error_code, 0);
    let member = cluster.start_broker(NodeId(0), dir_0).await;
    cluster.brokers.push(member);
    until("all are in the ISR", || cluster.decided("t").isr.len() == 3).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["y"])).await.error_code, 0);

    let expected: Vec<(String, i32)> = [("a", 0), ("b", 0), ("x", 2), ("y", 2)]
        .map(|(value, epoch)| (value.to_owned(), epoch))
        .into();
    // The one that was cut leads now: what it has is what the others have.
    cluster.elect("t", 0, &[0, 1, 2]).await;
    let mut client = cluster.client(2).await;
    until("the high watermark is known", || {
        cluster.replica(2, "t", 0).ends().unwrap().high_watermark.get() == 4
    })
    .await;
    assert_eq!(records(&fetch(&mut client, "t", 0).await), expected);
}

#[tokio::test]
async fn a_fenced_follower_does_not_join() {
    let mut cluster = Cluster::start(&[("replica.lag.time.max.ms", "200")]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "1")]).await;
    let mut client = cluster.client(0).await;
    let dir = cluster.stop(2).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    let member = cluster.start_broker(NodeId(2), dir).await;
    cluster.brokers.push(member);
    cluster.set_state(NodeId(2), NodeState::Fenced).await;
    until("it copies", || cluster.log_end(2, "t") == 1).await;
    cluster.set_state(NodeId(2), NodeState::Active).await;
    until("it joins", || cluster.decided("t").isr.len() == 3).await;
}

#[tokio::test]
async fn a_partition_is_fetched_at_once_although_the_leader_makes_others_wait() {
    let cluster = Cluster::start(&[("replica.fetch.wait.max.ms", "8000")]).await;
    cluster.create("idle", 1, &[]).await;
    until("broker 1 fetches from broker 0", || {
        let figures = cluster.brokers[1].broker.fetchers().figures();
        figures.iter().any(|it| it.leader == NodeId(0) && it.answers > 0)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    cluster.create("t", 1, &[("min.insync.replicas", "3")]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_follower_whose_next_record_is_deleted_begins_where_its_leader_does() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[("min.insync.replicas", "1")]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);
    let dir = cluster.stop(2).await;
    cluster.elect("t", 0, &[0, 1]).await;
    for _ in 0..3 {
        assert_eq!(produce(&mut client, "t", 0, -1, batch(&["b", "c"])).await.error_code, 0);
    }
    // Into the middle of a batch: that one is sent as a whole.
    cluster.replica(0, "t", 0).delete_records(Some(Offset(4))).unwrap();
    let member = cluster.start_broker(NodeId(2), dir).await;
    cluster.brokers.push(member);
    until("it is in the ISR again", || cluster.decided("t").isr.len() == 3).await;
    let ends = cluster.replica(2, "t", 0).ends().unwrap();
    assert_eq!((ends.log_end, ends.log_start), (Offset(7), Offset(4)));
}
