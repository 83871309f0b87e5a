//! PreRestartCheck: what would stop if a broker were restarted now.

use std::sync::Arc;

use grpc::pre_restart_check_response::Finding;
use highwater_proto::grpc;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{NodeId, PartitionIndex};

use crate::cluster::{Refusal, RestartCheck};
use crate::service::Shared;
use crate::service::admin::count;
use crate::service::rpc::outcome;

/// Partitions that are named; the counts are whole.
const NAMED: usize = 100;

pub(super) fn handle(shared: &Shared, request: &grpc::PreRestartCheckRequest) -> grpc::PreRestartCheckResponse {
    let image = shared.updates.image();
    let node = NodeId(request.node_id);
    let known = match image.node(node) {
        Some(_) => Ok(()),
        None => {
            let message = format!("Node {node} is not registered");
            Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message))
        }
    };
    let check = RestartCheck::new(&image, &shared.config.settings, node);
    grpc::PreRestartCheckResponse {
        safe: known.is_ok() && check.is_safe(),
        outcome: outcome(&known),
        blocking: findings(&check.blocking),
        unavoidable: findings(&check.unavoidable),
        blocking_count: count(check.blocking.len()),
        unavoidable_count: count(check.unavoidable.len()),
        revision: image.revision.get(),
    }
}

fn findings(partitions: &[(Arc<str>, PartitionIndex)]) -> Vec<Finding> {
    let named = partitions.iter().take(NAMED);
    let named = named.map(|(topic, partition)| Finding {
        topic: topic.to_string(),
        partition: partition.get(),
    });
    named.collect()
}
