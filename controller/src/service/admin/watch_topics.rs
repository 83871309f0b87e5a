//! WatchTopics: names of topics that changed. Changes that come while the watcher is busy are told together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::grpc;
use highwater_proto::metadata::{MetadataImage, diff};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::service::Shared;
use crate::service::rpc::Answers;

/// Pause between two messages.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn handle(shared: &Arc<Shared>) -> Answers<grpc::TopicsChanged> {
    let (outbox, answers) = mpsc::channel(1);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        tokio::select! {
            // The watcher has gone away.
            _ = follow(&shared, &outbox) => {}
            () = shared.shutdown.triggered() => {}
        }
    });
    Box::pin(ReceiverStream::new(answers))
}

type Outbox = mpsc::Sender<Result<grpc::TopicsChanged, Status>>;
type Gone = mpsc::error::SendError<Result<grpc::TopicsChanged, Status>>;

async fn follow(shared: &Shared, outbox: &Outbox) -> Result<(), Gone> {
    let mut images = shared.updates.images();
    let mut told = Arc::clone(&images.borrow_and_update());
    let names = told.topics().map(|topic| topic.name.to_string()).collect();
    let first = grpc::TopicsChanged {
        all: true,
        names,
        revision: told.revision.get(),
    };
    outbox.send(Ok(first)).await?;
    loop {
        tokio::select! {
            changed = images.changed() => if changed.is_err() { return Ok(()) },
            () = outbox.closed() => return Ok(()),
        }
        let image = Arc::clone(&images.borrow_and_update());
        let names = changed(&told, &image);
        if !names.is_empty() {
            let message = grpc::TopicsChanged {
                all: false,
                names: names.into_iter().collect(),
                revision: image.revision.get(),
            };
            outbox.send(Ok(message)).await?;
        }
        told = image;
        tokio::time::sleep(PAUSE).await;
    }
}

fn changed(old: &MetadataImage, new: &MetadataImage) -> BTreeSet<String> {
    let difference = diff(old, new);
    let changed = difference.topics_changed.iter().map(|(_, topic)| *topic);
    let others = difference.topics_created.iter().chain(&difference.topics_deleted);
    let topics = changed.chain(others.copied());
    topics.map(|topic| topic.name.to_string()).collect()
}
