//! Moves leaderships away from brokers whose disks stall, and takes them out of ISRs, for as long as they stall.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::types::NodeId;

use crate::cluster::{RelieveNode, move_leaders};
use crate::service::hand_over::{Unready, hand_over};
use crate::service::{DecisionError, Shared};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Goes on until the controller leads no more.
pub(crate) async fn watch_over(shared: &Arc<Shared>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.shutdown.triggered() => return,
            _ = ticks.tick() => {}
        }
        let image = shared.updates.image();
        let stalled: Vec<NodeId> = image
            .live_brokers()
            .filter(|node| node.disk.stalled)
            .map(|node| node.id)
            .collect();
        for node in stalled {
            let relieved = tokio::select! {
                relieved = relieve(shared, node) => relieved,
                () = shared.shutdown.triggered() => return,
            };
            if let Err(error) = relieved {
                tracing::warn!(%node, %error, "a broker that stalls is not relieved yet");
            }
        }
    }
}

async fn relieve(shared: &Shared, node: NodeId) -> Result<(), DecisionError> {
    let moves = move_leaders::successors(&shared.updates.image(), &shared.config.settings, node);
    if !moves.is_empty() {
        tracing::warn!(%node, leaderships = moves.len(), "a broker's disk stalls: others lead");
        hand_over(shared, moves, Unready::Moves).await?;
    }
    let left = shared.decider.decide(RelieveNode { node }).await?.reply;
    if left > 0 {
        tracing::warn!(%node, partitions = left, "a broker that stalls is no longer in sync");
    }
    Ok(())
}
