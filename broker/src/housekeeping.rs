//! What a broker does besides requests: following the image, and looking after its partitions from time to time.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::metadata::MetadataImage;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::Broker;
use crate::log::{LogError, remove_segments};
use crate::partitions::Partitions;

/// First look at retention after the start, as in Kafka.
const RETENTION_DELAY: Duration = Duration::from_secs(30);
/// How often directories that were moved aside are looked at.
const STRAY_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often `flush.ms` is looked at.
const FLUSH_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Kafka's `producer.id.expiration.check.interval.ms`.
const PRODUCER_EXPIRATION_INTERVAL: Duration = Duration::from_secs(600);

/// Starts the tasks; they end with the broker.
pub(crate) fn start(broker: &Arc<Broker>, images: watch::Receiver<Arc<MetadataImage>>) {
    broker.shutdown().spawn(follow(Arc::clone(broker), images));
    let lag = broker.config().replica_lag_time_max / 2;
    every(broker, lag, lag, Partitions::tick);
    every(
        broker,
        PRODUCER_EXPIRATION_INTERVAL,
        PRODUCER_EXPIRATION_INTERVAL,
        Partitions::expire_producers,
    );
    let retain = {
        let broker = Arc::downgrade(broker);
        move |partitions: &Partitions| {
            let removals = partitions.retention();
            let Some(broker) = broker.upgrade() else { return };
            for (delay, segments) in removals {
                remove_later(&broker, delay, move || remove_segments(&segments));
            }
        }
    };
    every(
        broker,
        RETENTION_DELAY,
        broker.config().retention_check_interval,
        retain,
    );
    every(
        broker,
        FLUSH_CHECK_INTERVAL,
        FLUSH_CHECK_INTERVAL,
        Partitions::flush_due,
    );
    let retention = broker.config().replication.stray_retention;
    every(broker, RETENTION_DELAY, STRAY_INTERVAL, move |partitions| {
        partitions.remove_old_strays(retention);
    });
    broker.shutdown().spawn(checkpoint(Arc::clone(broker)));
}

/// Carries out images, one after the other.
async fn follow(broker: Arc<Broker>, mut images: watch::Receiver<Arc<MetadataImage>>) {
    let mut strays_are_known = false;
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let revision = image.revision;
        // An image that does not show this registration is older than the broker: what it assigns may be what an earlier
        // incarnation had and lost, and it says nothing about strays.
        let shows_us = image
            .nodes
            .get(&broker.node_id())
            .is_some_and(|node| node.epoch >= broker.epoch());
        if !shows_us {
            tokio::select! {
                changed = images.changed() => if changed.is_err() { return } else { continue },
                () = broker.shutdown().triggered() => return,
            }
        }
        let look_for_strays = !strays_are_known;
        let applying = Arc::clone(&broker);
        let applied = tokio::task::spawn_blocking(move || {
            let applied = applying.partitions().apply(&image);
            if look_for_strays {
                applying.partitions().move_strays_aside();
            }
            applying.fetchers().assignments_changed(&applying, &applied.assignments);
            applied
        });
        match applied.await {
            Ok(applied) => {
                strays_are_known |= look_for_strays;
                applied
                    .directories
                    .into_iter()
                    .for_each(|(delay, directory)| remove_later(&broker, delay, || directory.remove()));
                broker.image_applied(revision);
                if broker.partitions().awaits_write_caching() {
                    let partitions = Arc::clone(broker.partitions());
                    // Images do not wait for the disk.
                    drop(tokio::task::spawn_blocking(move || partitions.note_write_caching()));
                }
            }
            Err(error) => tracing::error!(%error, %revision, "an image could not be carried out"),
        }
        tokio::select! {
            changed = images.changed() => if changed.is_err() { return },
            () = broker.shutdown().triggered() => return,
        }
    }
}

/// Removes files after `file.delete.delay.ms`; the next start does if this process ends before.
fn remove_later(broker: &Arc<Broker>, delay: Duration, remove: impl FnOnce() -> Result<(), LogError> + Send + 'static) {
    let shutdown = broker.shutdown().clone();
    broker.shutdown().spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shutdown.triggered() => return,
        }
        let removed = tokio::task::spawn_blocking(remove).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "cannot remove what was deleted; the next start does");
        }
    });
}

async fn checkpoint(broker: Arc<Broker>) {
    let interval = broker.config().replication.high_watermark_checkpoint_interval;
    let mut last = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = broker.shutdown().triggered() => return,
        }
        let partitions = Arc::clone(broker.partitions());
        match tokio::task::spawn_blocking(move || partitions.checkpoint_high_watermarks(last)).await {
            Ok(Ok(digest)) => last = digest,
            Ok(Err(error)) => tracing::warn!(%error, "cannot write the high watermarks"),
            Err(error) => tracing::error!(%error, "the high watermark checkpoint ended without a result"),
        }
    }
}

/// Does some work on a blocking thread, again and again.
fn every(
    broker: &Arc<Broker>,
    first: Duration,
    interval: Duration,
    work: impl Fn(&Partitions) + Clone + Send + 'static,
) {
    let broker = Arc::clone(broker);
    let shutdown = broker.shutdown().clone();
    shutdown.spawn(async move {
        let mut ticks = tokio::time::interval_at(Instant::now() + first, interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = broker.shutdown().triggered() => return,
            }
            let (partitions, work) = (Arc::clone(broker.partitions()), work.clone());
            if let Err(error) = tokio::task::spawn_blocking(move || work(&partitions)).await {
                tracing::error!(%error, "housekeeping ended without a result");
            }
        }
    });
}
