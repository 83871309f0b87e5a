//! The metadata watch: a snapshot, then deltas; resumes where it was, and never goes back.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::grpc;
use highwater_proto::metadata::convert::{Received, UpdateAssembler};
use highwater_proto::metadata::{MetadataImage, SnapshotRefused};

use crate::session::link::Shared;
use crate::session::{Backoff, LinkError};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long opening the watch may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows the controller's metadata until the link is over.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut states = shared.state.subscribe();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let watching = async {
            // Who watches says who it is; only registered nodes can.
            if states.wait_for(|state| state.connected).await.is_err() {
                return Ok(false);
            }
            follow(&shared).await
        };
        let end = tokio::select! {
            end = watching => end,
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
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// One stream. Answers whether it brought anything, once it ends.
async fn follow(shared: &Shared) -> Result<bool, LinkError> {
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
    let mut client = shared.client();
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
        let message = match updates.message().await {
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
