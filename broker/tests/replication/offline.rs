//! A leader whose disk has failed, before and after another replica leads: whoever comes hears of the disk, as of Apache
//! Kafka (`ReplicaManager.getPartitionOrError` looks for an offline replica before anything else).

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::produce::response::PartitionProduceResponse;

use crate::cluster::{Cluster, produce, until};
use crate::support::batch;

const NOT_LEADER: i16 = ErrorCode::NotLeaderOrFollower.code();
const STORAGE: i16 = ErrorCode::KafkaStorageError.code();

/// The error, and whether the answer names another leader.
fn outcome(answer: &PartitionProduceResponse) -> (i16, bool) {
    (answer.error_code, answer.current_leader.leader_id >= 0)
}

#[tokio::test]
async fn the_failed_disk_is_heard_of_before_the_leadership_that_moved() {
    let cluster = Cluster::start(&[]).await;
    cluster.create("t", 1, &[]).await;
    cluster.create("moved", 1, &[]).await;
    let mut client = cluster.client(0).await;
    assert_eq!(produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code, 0);

    cluster.elect("moved", 1, &[0, 1, 2]).await;
    let moved = produce(&mut client, "moved", 0, 1, batch(&["b"])).await;
    assert_eq!(outcome(&moved), (NOT_LEADER, true));
    for topic in ["t", "moved"] {
        cluster.replica(0, topic, 0).fail_storage();
    }
    cluster.elect("t", 1, &[1, 2]).await;
    for topic in ["t", "moved"] {
        for acks in [1, -1] {
            let answer = produce(&mut client, topic, 0, acks, batch(&["b"])).await;
            assert_eq!(outcome(&answer), (STORAGE, false), "{topic} acks {acks}");
        }
    }
    let mut client = cluster.client(1).await;
    let answer = produce(&mut client, "t", 0, -1, batch(&["b"])).await;
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (0, 1),
        "the next leader goes on"
    );
}

#[tokio::test]
async fn whoever_waits_hears_of_what_came_first() {
    for disk_first in [true, false] {
        let mut cluster = Cluster::start(&[]).await;
        cluster.create("t", 1, &[]).await;
        // Nobody acknowledges any more.
        for follower in [2, 1] {
            cluster.stop(follower).await;
        }
        let mut client = cluster.client(0).await;
        let replica = cluster.replica(0, "t", 0);
        let waiting = tokio::spawn(async move { produce(&mut client, "t", 0, -1, batch(&["a"])).await.error_code });
        until("it is appended", || cluster.log_end(0, "t") == 1).await;
        if disk_first {
            replica.fail_storage();
        }
        cluster.elect("t", 1, &[1, 2]).await;
        if !disk_first {
            replica.fail_storage();
        }
        let expected = if disk_first { STORAGE } else { NOT_LEADER };
        assert_eq!(waiting.await.unwrap(), expected, "disk first: {disk_first}");
    }
}
