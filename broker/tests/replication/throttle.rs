//! Replication throttles: replicas that are not in sync are held back, on either side, and nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_proto::metadata::{Change, ConfigResource};

use crate::cluster::{Cluster, produce, until};
use crate::support::batch;

async fn limit(cluster: &Cluster, bytes_per_second: &str) {
    let rates = [
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
    ];
    let values: BTreeMap<_, _> = rates
        .iter()
        .map(|rate| ((*rate).to_owned(), bytes_per_second.to_owned()))
        .collect();
    cluster
        .decide(vec![Change::PutConfig(ConfigResource::ClusterDefault, values)])
        .await;
}

#[tokio::test]
async fn throttled_replicas_that_are_not_in_sync_are_copied_at_the_rate() {
    let cluster = Cluster::start(&[]).await;
    limit(&cluster, "0").await;
    cluster.create("free", 1, &[]).await;
    let leader = [("leader.replication.throttled.replicas", "0:0")];
    cluster.create("by-leader", 1, &leader).await;
    let follower = [("follower.replication.throttled.replicas", "0:1,0:2")];
    cluster.create("by-follower", 1, &follower).await;
    let mut client = cluster.client(0).await;
    let topics = ["free", "by-leader", "by-follower"];
    for topic in topics {
        // In sync, so that nobody is held back.
        assert_eq!(produce(&mut client, topic, 0, -1, batch(&["a"])).await.error_code, 0);
    }
    for topic in topics {
        cluster.elect(topic, 0, &[0]).await;
        assert_eq!(produce(&mut client, topic, 0, 1, batch(&["b"])).await.error_code, 0);
    }
    until("what is not throttled is copied", || cluster.log_end(1, "free") == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for topic in ["by-leader", "by-follower"] {
        for broker in [1, 2] {
            assert_eq!(cluster.log_end(broker, topic), 1, "{topic} on {broker}");
        }
    }
    limit(&cluster, "1000000").await;
    for topic in ["by-leader", "by-follower"] {
        for broker in [1, 2] {
            until("it is copied", || cluster.log_end(broker, topic) == 2).await;
        }
        until("all are in sync", || cluster.decided(topic).isr.len() == 3).await;
    }
}
