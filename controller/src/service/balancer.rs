//! What takes the active controller more than a decision: reassignments whose leader hands over first, the planner's
//! moves, and preferred leaders. All of it is derived from the image again and again, so that whoever leads next goes
//! on with it.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::metadata::{MetadataImage, NodeDuty};
use highwater_proto::types::NodeId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::planner::{self, Load, Plan, PlanOptions};
use crate::cluster::replica_sizes::ReplicaSizes;
use crate::cluster::{
    CompleteReassignments, CopyLimits, MoveReplicas, WantRebalance, complete_reassignments, move_replicas,
    preferred_leaders,
};
use crate::service::hand_over::{self, Unready};
use crate::service::{DecisionError, Shared, replica_sizes};

/// Pause before what was not committed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between two looks at what there is to move: moves that are done make room for others.
const MOVE_PAUSE: Duration = Duration::from_millis(250);
/// A plan takes at most this part of a processor.
const PLAN_SHARE: u32 = 10;
/// Moves that are planned ahead.
const PLAN_AHEAD: usize = 1_000;
/// Moves that begin at once.
const MOVES_AT_ONCE: usize = 500;
/// Leaderships that go back to preferred leaders in a second.
const LEADERS_PER_SECOND: usize = 20;

/// Starts the tasks; they end when the controller leads no more.
pub(super) fn start(shared: &Arc<Shared>) {
    let leaders_moved = Arc::new(Notify::new());
    let (completing, moving, leading) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let moved = Arc::clone(&leaders_moved);
    shared.shutdown.spawn(async move {
        tokio::select! {
            () = complete(&completing) => {}
            () = completing.shutdown.triggered() => {}
        }
    });
    shared.shutdown.spawn(async move {
        tokio::select! {
            () = move_all(&moving, &moved) => {}
            () = moving.shutdown.triggered() => {}
        }
    });
    shared.shutdown.spawn(async move {
        tokio::select! {
            () = restore_leaders(&leading, &leaders_moved) => {}
            () = leading.shutdown.triggered() => {}
        }
    });
}

/// Completes reassignments that take the leader away: it hands over, then one put does all.
async fn complete(shared: &Shared) {
    let settings = &shared.config.settings;
    let mut images = shared.updates.images();
    let mut settled = Arc::new(MetadataImage::default());
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let moves = complete_reassignments::awaited(&settled, &image, settings);
        if !moves.is_empty() {
            // Those that are not ready in time move all the same: the new leader is in sync.
            let prepared = hand_over::prepare(shared, &moves).await;
            let partitions = moves.iter().map(|wanted| wanted.key).collect();
            match shared.decider.decide(CompleteReassignments { partitions }).await {
                Ok(decided) => {
                    prepared.end(shared, &decided.image);
                    tracing::debug!(done = decided.reply, "reassignments are done");
                }
                Err(error) => {
                    tracing::warn!(%error, "reassignments are not done yet, trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        settled = image;
        if images.changed().await.is_err() {
            return;
        }
    }
}

/// Empties draining brokers, and evens out all of them while that is wanted.
async fn move_all(shared: &Arc<Shared>, leaders_moved: &Notify) {
    let mut images = shared.updates.images();
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let drains = image.brokers().any(|node| node.duty == NodeDuty::Draining);
        let wanted = &image.rebalance;
        let pause = if drains || wanted.wanted || wanted.throttle.is_some() {
            let sizes = replica_sizes::gather(shared, replica_sizes::FOR_PLANS).await;
            let started = Instant::now();
            let (plan, load) = make_plan(&image, sizes, wanted.wanted, wanted.onto.clone()).await;
            let took = started.elapsed();
            match advance(shared, &image, &plan, &load).await {
                Ok(Progress::Idle) => None,
                Ok(Progress::Moving) => Some(MOVE_PAUSE.max(took * PLAN_SHARE)),
                Ok(Progress::Done) => {
                    leaders_moved.notify_one();
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "planned moves were not committed, trying again");
                    Some(RETRY)
                }
            }
        } else {
            None
        };
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => {
                if images.changed().await.is_err() {
                    return;
                }
                // Changes come in bursts.
                tokio::time::sleep(MOVE_PAUSE).await;
            }
        }
    }
}

/// Plans on a thread of its own: there may be a million partitions. Also what partitions weigh.
pub(super) async fn make_plan(
    image: &Arc<MetadataImage>,
    sizes: Arc<ReplicaSizes>,
    balance: bool,
    onto: Vec<NodeId>,
) -> (Plan, Load) {
    let image = Arc::clone(image);
    let options = PlanOptions {
        balance,
        onto,
        max_moves: PLAN_AHEAD,
    };
    let planning = tokio::task::spawn_blocking(move || {
        let load = sizes.load(&image);
        (planner::plan(&image, &load, &options), load)
    });
    planning.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the planner failed");
        Default::default()
    })
}

enum Progress {
    /// Nothing can be done until something changes.
    Idle,
    /// Something is on its way.
    Moving,
    /// Everything is even.
    Done,
}

async fn advance(shared: &Shared, image: &MetadataImage, plan: &Plan, load: &Load) -> Result<Progress, DecisionError> {
    let settings = &shared.config.settings;
    let limits = CopyLimits {
        moves_per_broker: settings.rebalance_moves_per_broker,
        bytes_per_broker: settings.rebalance_bytes_per_broker,
        moves: MOVES_AT_ONCE,
    };
    let moves = move_replicas::next_moves(image, &plan.moves, load, limits);
    if !moves.is_empty() {
        let decided = shared.decider.decide(MoveReplicas { moves }).await?;
        let (begun, left) = (decided.reply, plan.moves.len());
        tracing::info!(begun, left, "moving replicas");
        return Ok(Progress::Moving);
    }
    let mut partitions = image.topics().flat_map(|topic| &topic.partitions);
    if partitions.any(|partition| partition.is_reassigning()) {
        return Ok(Progress::Moving);
    }
    let wanted = image.rebalance.wanted;
    // Of one that was taken back, the limit goes when nothing of it is under way any more.
    let is_over = if wanted {
        plan.moves.is_empty()
    } else {
        image.rebalance.throttle.is_some()
    };
    if !is_over {
        return Ok(Progress::Idle);
    }
    // Refused is only a beginning.
    let _ = shared.decider.decide(WantRebalance::Done).await?;
    if !wanted {
        return Ok(Progress::Idle);
    }
    tracing::info!("the brokers are evened out");
    Ok(Progress::Done)
}

/// Gives leadership back to preferred leaders, some at a time: once in a while, and after a rebalance.
async fn restore_leaders(shared: &Shared, leaders_moved: &Notify) {
    let settings = &shared.config.settings;
    if !settings.auto_leader_rebalance {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(settings.leader_imbalance_check_interval) => {}
            () = leaders_moved.notified() => {}
        }
        loop {
            let image = shared.updates.image();
            let moves = preferred_leaders::wanted(&image, settings, LEADERS_PER_SECOND);
            if moves.is_empty() {
                break;
            }
            match hand_over::hand_over(shared, moves, Unready::Stays).await {
                // Those that could not be handed over are tried again the next time.
                Ok(0) => break,
                Ok(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(error) => {
                    tracing::warn!(%error, "preferred leaders are not restored yet");
                    break;
                }
            }
        }
    }
}
