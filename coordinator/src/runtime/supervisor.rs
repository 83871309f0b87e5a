//! Starts a task for every shard that the image gives to this coordinator, and stops those that it takes away.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{ShardId, ShardKind};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shard_task::ShardTask;
use super::{INBOX, Runtime, ShardHandle};
use crate::shard::ShardState;

/// Follows the image until `stop`, then hands all shards over and waits for their tasks.
pub(crate) async fn supervise(runtime: Arc<Runtime>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let mut images = runtime.images.clone();
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        follow(&runtime, &image, &tasks);
        tokio::select! {
            () = stop.cancelled() => break,
            changed = images.changed() => if changed.is_err() { break },
        }
    }
    let owned: Vec<ShardId> = runtime.shards.lock().keys().copied().collect();
    let limit = runtime.config.release_timeout;
    if tokio::time::timeout(limit, runtime.release(&owned)).await.is_err() {
        tracing::warn!(
            ?limit,
            "some shards had appends in flight when the time to hand them over ended"
        );
    }
    for (_, handle) in runtime.shards.lock().drain() {
        handle.stop.cancel();
    }
    tasks.close();
    tasks.wait().await;
}

fn follow(runtime: &Arc<Runtime>, image: &MetadataImage, tasks: &TaskTracker) {
    let me = Some(runtime.config.node_id);
    let mine = |id: &ShardId| id.kind == ShardKind::Group;
    let owned = image
        .shards
        .iter()
        .filter(|(id, assignment)| assignment.owner == me && mine(id));
    let owned: HashSet<ShardId> = owned.map(|(id, _)| *id).collect();
    runtime.brokers.retain(image);
    let mut shards = runtime.shards.lock();
    shards.retain(|id, handle| {
        let stays = owned.contains(id);
        if !stays {
            handle.stop.cancel();
        }
        stays
    });
    for id in owned {
        shards.entry(id).or_insert_with(|| start(runtime, id, tasks));
    }
}

fn start(runtime: &Arc<Runtime>, id: ShardId, tasks: &TaskTracker) -> ShardHandle {
    let (inbox, messages) = mpsc::channel(INBOX);
    let (publish, state) = watch::channel(ShardState::Loading);
    let stop = CancellationToken::new();
    let task = ShardTask::new(Arc::clone(runtime), id, publish);
    tasks.spawn(task.run(messages, stop.clone()));
    ShardHandle { inbox, state, stop }
}
