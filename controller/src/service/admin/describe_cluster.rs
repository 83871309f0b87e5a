//! DescribeCluster: the nodes, what is on them, and how the partitions fare.

use grpc::describe_cluster_response::Node as WireNode;
use highwater_proto::grpc;
use highwater_proto::metadata::Node;

use crate::cluster::overview::{Health, NodeLoad, node_loads};
use crate::service::Shared;
use crate::service::admin::count;

pub(super) fn handle(shared: &Shared) -> grpc::DescribeClusterResponse {
    let image = shared.updates.image();
    let loads = node_loads(&image);
    let health = Health::of_cluster(&image, &shared.config.settings);
    let node = |node: &Node| {
        let load = loads.get(&node.id).copied().unwrap_or_default();
        row(shared, node, load)
    };
    grpc::DescribeClusterResponse {
        cluster_id: image.cluster.cluster_id.clone(),
        revision: image.revision.get(),
        nodes: image.nodes.values().map(|it| node(it)).collect(),
        topics: count(image.topic_count()),
        partitions: count(health.partitions),
        offline_partitions: count(health.offline),
        under_replicated_partitions: count(health.under_replicated),
        reassigning_partitions: count(health.reassigning),
        highest_replication_factor: count(health.replication_factor),
        highest_min_isr: count(health.min_isr),
    }
}

fn row(shared: &Shared, node: &Node, load: NodeLoad) -> WireNode {
    let (disk_free_bytes, disk_total_bytes) = shared.sessions.disk(node.id);
    WireNode {
        id: node.id.get(),
        epoch: node.epoch.get(),
        registration: Some((&node.registration).into()),
        state: grpc::NodeState::from(node.state).kind,
        duty: grpc::NodeDuty::from(node.duty).kind,
        replicas: count(load.replicas),
        leaders: count(load.leaders),
        shards: count(load.shards),
        disk_free_bytes,
        disk_total_bytes,
    }
}
