//! DecommissionStatus: how far brokers are from being empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use grpc::decommission_status_response::Node as WireNode;
use highwater_proto::grpc;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::NodeDuty;
use highwater_proto::types::NodeId;

use crate::cluster::Refusal;
use crate::cluster::overview::node_loads;
use crate::service::Shared;
use crate::service::admin::count;
use crate::service::balancer;
use crate::service::replica_sizes::{self, Shrinking};
use crate::service::rpc::outcome;

pub(super) async fn handle(shared: &Shared, request: &grpc::NodesRequest) -> grpc::DecommissionStatusResponse {
    let image = shared.updates.image();
    let loads = node_loads(&image);
    let mut stuck: BTreeMap<NodeId, usize> = BTreeMap::new();
    let sizes = replica_sizes::gather(shared, replica_sizes::FOR_STATUS).await;
    let now = shared.clock.now();
    let (plan, _) = balancer::make_plan(&image, Arc::clone(&sizes), false, Vec::new()).await;
    for (node, _) in plan.stuck {
        *stuck.entry(node).or_default() += 1;
    }
    let row = |id: &i32| {
        let Some(node) = image.node(NodeId(*id)) else {
            let message = format!("Node {id} is not registered");
            let unknown: Result<(), Refusal> = Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
            return WireNode {
                id: *id,
                outcome: outcome(&unknown),
                ..Default::default()
            };
        };
        let load = loads.get(&node.id).copied().unwrap_or_default();
        let blocked = stuck.get(&node.id).map(|replicas| {
            format!(
                "{replicas} replica(s) have nowhere to go: every broker that takes replicas has one of their partition"
            )
        });
        let bytes = sizes.to_drain(&image, node.id);
        WireNode {
            id: *id,
            outcome: outcome(&Ok::<_, Refusal>(())),
            bytes_remaining: replica_sizes::wire(bytes),
            eta_seconds: shared.sizes.eta_seconds(Shrinking::Drain(node.id), now, bytes),
            epoch: node.epoch.get(),
            draining: node.duty == NodeDuty::Draining,
            replicas: count(load.replicas),
            leaders: count(load.leaders),
            shards: count(load.shards),
            moving: count(load.moving),
            empty: load.is_empty(),
            blocked,
        }
    };
    grpc::DecommissionStatusResponse {
        nodes: request.node_ids.iter().map(row).collect(),
        revision: image.revision.get(),
    }
}
