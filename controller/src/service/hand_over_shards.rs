//! Planned moves of shards (design section 6): the owner takes no more requests, finishes what is in flight and says so;
//! then the next owner is written. Members of its groups see a short load and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::grpc::session_request::Request as Said;
use highwater_proto::grpc::session_response::{Release, Response as Answer};
use highwater_proto::types::NodeId;

use crate::cluster::MoveShards;
use crate::cluster::shards::{self, ShardMove};
use crate::service::{DecisionError, Shared, questions};

/// How long an owner may take to release its shards; then they move all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// Least time between two looks: coordinators that come together are planned for together.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause after a move that could not be committed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Moves what is planned to move, until the controller stops.
pub(crate) async fn watch_over(shared: &Arc<Shared>) {
    let mut images = shared.updates.images();
    loop {
        let moves = shards::planned_moves(&images.borrow_and_update());
        let pause = match hand_over(shared, moves).await {
            Ok(()) => PAUSE,
            Err(error) => {
                tracing::warn!(%error, "shards were not handed over yet");
                images.mark_changed();
                RETRY_PAUSE
            }
        };
        let next = async {
            tokio::time::sleep(pause).await;
            images.changed().await
        };
        tokio::select! {
            () = shared.shutdown.triggered() => return,
            changed = next => if changed.is_err() { return },
        }
    }
}

/// Has the owners release their shards, each in its own time, and assigns them.
async fn hand_over(shared: &Shared, moves: Vec<ShardMove>) -> Result<(), DecisionError> {
    let mut by_owner: BTreeMap<NodeId, Vec<ShardMove>> = BTreeMap::new();
    for planned in moves {
        by_owner.entry(planned.from).or_default().push(planned);
    }
    let handed_over = by_owner.into_iter().map(async |(owner, moves)| {
        release(shared, owner, &moves).await;
        let planned = moves.len();
        let moved = shared.decider.decide(MoveShards { moves }).await?.reply;
        tracing::info!(%owner, planned, moved, "shards were handed over");
        Ok(())
    });
    join_all(handed_over).await.into_iter().collect()
}

async fn release(shared: &Shared, owner: NodeId, moves: &[ShardMove]) {
    let shards = moves.iter().map(|planned| planned.shard.into()).collect();
    let ask = |question| Answer::Release(Release { shards, question });
    match questions::ask(shared, owner, PATIENCE, ask).await {
        Some(Said::Released(_)) => {}
        // Its epoch is over with the assignment, whatever it still has in flight.
        _ => tracing::warn!(%owner, "a coordinator did not release its shards in time"),
    }
}
