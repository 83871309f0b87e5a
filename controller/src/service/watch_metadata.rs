//! WatchMetadata, which every controller serves, active or not: a snapshot unless the watcher's own image can be extended, then updates as they are committed.

use std::sync::Arc;

use highwater_proto::grpc;
use highwater_proto::metadata::{MetadataSnapshot, convert};
use highwater_proto::types::Revision;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::service::office::Office;
use crate::service::rpc::Answers;
use crate::service::updates::{Next, Updates};

/// Messages that wait for a slow watcher. Updates wait in the ring, which all watchers share.
const OUTBOX: usize = 4;

pub(super) fn handle(
    office: &Arc<Office>,
    request: &grpc::WatchMetadataRequest,
) -> Result<Answers<grpc::MetadataUpdate>, Status> {
    let image = office.updates.image();
    let ours = &image.cluster;
    if ours.cluster_id.is_empty() {
        return Err(Status::unavailable("this controller has not read the metadata yet"));
    }
    if !request.cluster_id.is_empty() && request.cluster_id != ours.cluster_id {
        let message = format!("this is cluster {}, not {}", ours.cluster_id, request.cluster_id);
        return Err(Status::failed_precondition(message));
    }
    let known = Revision(request.from_revision);
    let extends = request.generation == ours.generation;
    let ahead = (request.generation, known) > (ours.generation, image.revision);
    if ahead {
        // Images never go back: whoever asks knows more, and asks another controller or waits.
        return Err(Status::unavailable("this controller is behind"));
    }
    let (outbox, answers) = mpsc::channel(OUTBOX);
    let office = Arc::clone(office);
    tokio::spawn(async move {
        tokio::select! {
            () = office.shutdown.triggered() => {}
            // The watcher has gone away.
            _ = follow(&office.updates, extends.then_some(known), &outbox) => {}
        }
    });
    Ok(Box::pin(ReceiverStream::new(answers)))
}

type Outbox = mpsc::Sender<Result<grpc::MetadataUpdate, Status>>;
type Gone = mpsc::error::SendError<Result<grpc::MetadataUpdate, Status>>;

/// Sends for as long as somebody listens.
async fn follow(updates: &Updates, known: Option<Revision>, outbox: &Outbox) -> Result<(), Gone> {
    let mut images = updates.images();
    let mut at = match known {
        Some(revision) => revision,
        None => send_snapshot(&updates.snapshot(), outbox).await?,
    };
    loop {
        // Marked as seen before looking, so that nothing that comes meanwhile is slept through.
        images.mark_unchanged();
        match updates.after(at) {
            Next::Snapshot(snapshot) => at = send_snapshot(&snapshot, outbox).await?,
            Next::Updates(updates) if updates.is_empty() => {
                tokio::select! {
                    changed = images.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                    }
                    () = outbox.closed() => return Ok(()),
                }
            }
            Next::Updates(updates) => {
                for update in updates {
                    at = Revision(update.revision);
                    outbox.send(Ok(Arc::unwrap_or_clone(update))).await?;
                }
            }
        }
    }
}

async fn send_snapshot(snapshot: &MetadataSnapshot, outbox: &Outbox) -> Result<Revision, Gone> {
    for message in convert::snapshot_to_grpc(snapshot) {
        outbox.send(Ok(message)).await?;
    }
    Ok(snapshot.revision)
}
