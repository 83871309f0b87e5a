//! The metadata watch: a snapshot, then deltas; resumes where it was, from whichever controller, and never goes back.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::grpc;
use highwater_proto::metadata::convert::{Received, UpdateAssembler};
use highwater_proto::metadata::{MetadataImage, SnapshotRefused};

use crate::session::link::Shared;
use crate::session::{Backoff, LinkError};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long nothing may come although there is something.
const LONGEST_LAG: Duration = Duration::from_secs(2);
/// How long opening the watch may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows the controllers' metadata until the link is over. Any controller will do: the active one is asked first,
/// and the next one whenever one fails or stays behind.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut states = shared.state.subscribe();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    // Who watches says who it is; only registered nodes can.
    let registered = states.wait_for(|state| state.identity.is_some());
    tokio::select! {
        _ = registered => {}
        () = shared.stop.cancelled() => return,
    }
    let mut asked = shared.controllers.current();
    loop {
        let end = tokio::select! {
            end = follow(&shared, asked) => end,
            () = shared.stop.cancelled() => return,
        };
        match end {
            Ok(progressed) => {
                if progressed {
                    backoff.reset();
                }
            }
            Err(error) => return shared.fail(error),
        }
        asked = next_to_ask(&shared, asked);
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// The one that the session is with, if it was not asked just now.
fn next_to_ask(shared: &Shared, asked: usize) -> usize {
    let current = shared.controllers.current();
    if shared.state.borrow().connected && current != asked {
        current
    } else {
        asked.wrapping_add(1)
    }
}

/// One stream. Answers whether it brought anything, once it ends.
async fn follow(shared: &Shared, asked: usize) -> Result<bool, LinkError> {
    let request = {
        let state = shared.state.borrow();
        let image = shared.image.borrow();
        let Some(identity) = &state.identity else {
            return Ok(false);
        };
        grpc::WatchMetadataRequest {
            node_id: identity.node_id.get(),
            cluster_id: identity.cluster_id.clone(),
            generation: image.cluster.generation,
            from_revision: image.revision.get(),
        }
    };
    let mut client = shared.controllers.client(asked);
    let mut updates = match tokio::time::timeout(OPEN_TIMEOUT, client.watch_metadata(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            tracing::debug!(%status, "no metadata from this controller");
            return Ok(false);
        }
        Err(_) => return Ok(false),
    };
    let mut assembler = UpdateAssembler::default();
    let mut progressed = false;
    loop {
        let message = tokio::select! {
            message = updates.message() => message,
            () = stays_behind(shared) => {
                tracing::warn!("this controller stays behind the active one, asking another one");
                return Ok(progressed);
            }
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(progressed),
            Err(status) => {
                tracing::debug!(%status, "the metadata watch broke");
                return Ok(progressed);
            }
        };
        match assembler.push(message) {
            Ok(None) => {}
            Ok(Some(received)) => {
                if !take(shared, &received)? {
                    return Ok(progressed);
                }
                progressed = true;
            }
            Err(error) => {
                tracing::warn!(%error, "unreadable metadata from the controller, asking again");
                return Ok(progressed);
            }
        }
    }
}

/// Completes when the active controller is known to be ahead, and nothing was received for a while.
async fn stays_behind(shared: &Shared) {
    let mut states = shared.state.subscribe();
    let revision = shared.image.borrow().revision;
    if states.wait_for(|state| state.newest > revision).await.is_ok() {
        tokio::time::sleep(LONGEST_LAG).await;
    } else {
        std::future::pending().await
    }
}

/// Publishes the next image. Answers false when the stream is not to be followed any further.
fn take(shared: &Shared, received: &Received) -> Result<bool, LinkError> {
    let current = Arc::clone(&shared.image.borrow());
    let next: MetadataImage = match received {
        Received::Update(update) if update.revision <= current.revision => return Ok(true),
        Received::Update(update) => current.apply(update),
        Received::Snapshot(snapshot) => match current.apply_snapshot(snapshot) {
            Ok(next) => next,
            Err(error @ SnapshotRefused::Older { .. }) => {
                tracing::warn!(%error, "this controller is behind, asking again");
                return Ok(false);
            }
            Err(error @ SnapshotRefused::ForeignCluster { .. }) => {
                return Err(LinkError::Mismatch(error.to_string()));
            }
        },
    };
    shared.image.send_replace(Arc::new(next));
    Ok(true)
}
