//! ControlledShutdown: a broker's leaderships move away before its process is told to stop.

use highwater_proto::grpc;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::NodeId;
use tonic::Status;

use crate::cluster::{Refusal, move_leaders};
use crate::service::Shared;
use crate::service::admin::count;
use crate::service::hand_over::{Unready, hand_over};
use crate::service::rpc::outcome;

pub(super) async fn handle(
    shared: &Shared,
    request: &grpc::ControlledShutdownRequest,
) -> Result<grpc::ControlledShutdownResponse, Status> {
    let node = NodeId(request.node_id);
    let image = shared.updates.image();
    let known = match image.node(node) {
        None => {
            let message = format!("Broker ID {node} is not currently registered");
            Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message))
        }
        Some(known) if known.epoch.get() != request.epoch => {
            let message = format!("broker {node} is registered with epoch {}", known.epoch);
            Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message))
        }
        Some(_) => Ok(()),
    };
    if known.is_ok() {
        let moves = move_leaders::successors(&image, &shared.config.settings, node);
        // Each of them is in sync: who is late fetching misses nothing that was acknowledged.
        hand_over(shared, moves, Unready::Moves)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
    }
    let image = shared.updates.image();
    let partitions = image.topics().flat_map(|topic| &topic.partitions);
    let led = partitions.filter(|partition| partition.leader == Some(node)).count();
    Ok(grpc::ControlledShutdownResponse {
        outcome: outcome(&known),
        remaining_leaders: count(led),
        revision: image.revision.get(),
    })
}
