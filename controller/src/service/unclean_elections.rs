//! Looks for partitions that only an unclean election can give a leader, asks for the logs' ends, and has the longest log
//! elected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::TopicPartition;

use crate::cluster::{ElectUnclean, elect_unclean};
use crate::service::{Shared, questions};

/// Pause before those that are still open are asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// Goes on until the controller leads no more.
pub(crate) async fn watch_over(shared: &Arc<Shared>) {
    let settings = &shared.config.settings;
    let mut images = shared.updates.images();
    let mut settled = Arc::new(MetadataImage::default());
    let mut open: BTreeSet<TopicPartition> = BTreeSet::new();
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        open.extend(elect_unclean::wanted(&settled, &image, settings));
        open.retain(|key| !elect_unclean::candidates(&image, settings, key).is_empty());
        if !open.is_empty() {
            tokio::select! {
                () = elect(shared, &mut open) => {}
                () = shared.shutdown.triggered() => return,
            }
        }
        settled = image;
        tokio::select! {
            changed = images.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if !open.is_empty() => {}
            () = shared.shutdown.triggered() => return,
        }
    }
}

async fn elect(shared: &Shared, open: &mut BTreeSet<TopicPartition>) {
    let ends = questions::log_ends(shared, open).await;
    if ends.is_empty() {
        return;
    }
    match shared.decider.decide(ElectUnclean { ends }).await {
        Ok(decided) => decided.reply.iter().for_each(|key| {
            open.remove(key);
        }),
        Err(error) => tracing::warn!(%error, "an unclean election was not committed, trying again"),
    }
}
