//! The rules of section 5 of the design on one replica, whose peers are played by the test.

mod high_watermark;
mod isr;
mod leadership;
mod random;

use std::time::Duration;

use highwater_proto::metadata::Partition;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use proptest::prelude::*;

use super::*;

const ME: NodeId = NodeId(0);
const B1: NodeId = NodeId(1);
const B2: NodeId = NodeId(2);
const LAG: Duration = Duration::from_secs(30);

fn config(min: usize) -> ReplicaConfig {
    ReplicaConfig {
        min_insync_replicas: min,
        replica_lag_time_max: LAG,
    }
}

fn empty_log() -> LogEnds {
    LogEnds {
        start: Offset(0),
        end: Offset(0),
        flushed: Offset(0),
    }
}

fn partition(leader: NodeId, leader_epoch: i32, epoch: i64, isr: &[NodeId]) -> Partition {
    Partition {
        replicas: vec![ME, B1, B2],
        isr: isr.to_vec(),
        leader: Some(leader),
        leader_epoch: LeaderEpoch(leader_epoch),
        epoch: PartitionEpoch(epoch),
        ..Partition::default()
    }
}

/// Broker n is registered with epoch 10 + n.
fn all_live(node: NodeId) -> Option<BrokerView> {
    Some(BrokerView {
        epoch: BrokerEpoch(10 + i64::from(node.get())),
        eligible: true,
    })
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fetch(node: NodeId, offset: i64, now: Duration) -> FollowerFetch {
    FollowerFetch {
        node,
        broker_epoch: BrokerEpoch(10 + i64::from(node.get())),
        offset: Offset(offset),
        log_start: Offset(0),
        now,
    }
}

fn leader(min: usize, isr: &[NodeId]) -> Replica<u32> {
    let mut replica = Replica::new(ME, config(min), empty_log(), Offset(0));
    let _ = replica.assign(&partition(ME, 1, 1, isr), all_live, at(0));
    replica
}

fn append(replica: &mut Replica<u32>, end: i64, ack: u32) {
    let flushed = replica.log().flushed;
    let _ = replica.appended(Offset(end), flushed);
    replica.wait(Offset(end), ack).unwrap();
}

fn results(effects: &Effects<u32>) -> Vec<(u32, Result<(), AckError>)> {
    effects.completed.iter().map(|it| (it.ack, it.result)).collect()
}
