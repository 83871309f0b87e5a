//! What happens to all partitions from time to time. Everything here may wait for the disk: it runs on blocking
//! threads.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highwater_proto::types::PartitionIndex;
use parking_lot::{Mutex, MutexGuard};

use super::{Partitions, checkpoint};
use crate::log::{LogError, RetiredSegments, set_segments_aside};
use crate::partition::Partition;

/// `flush.ms` at its default, 2^63-1 milliseconds, and all that is as good as that.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Logs whose segments are renamed together: bounds how long the log starts wait to be written.
const REMOVAL_BATCH: usize = 256;
/// Logs that are closed at a time: enough to keep a disk busy.
const CLOSING_THREADS: usize = 8;

impl Partitions {
    /// Writes the high watermarks if they differ from those that `last` is the digest of; the new digest.
    ///
    /// # Errors
    /// IO errors; the old file then stays.
    pub fn checkpoint_high_watermarks(&self, last: u64) -> io::Result<u64> {
        let mut entries: Vec<(String, PartitionIndex, i64)> = self
            .all()
            .into_iter()
            .filter_map(|partition| {
                let high_watermark = partition.ends()?.high_watermark.get();
                Some((partition.topic().name().to_string(), partition.index(), high_watermark))
            })
            .filter(|(_, _, high_watermark)| *high_watermark > 0)
            .collect();
        entries.sort_unstable();
        let mut hasher = DefaultHasher::new();
        entries.hash(&mut hasher);
        let digest = hasher.finish();
        if digest != last {
            checkpoint::write(self.log_dir.root(), &entries)?;
        }
        Ok(digest)
    }

    /// Takes away what retention no longer keeps. The files are renamed; they are to be removed after the delays
    /// (`file.delete.delay.ms`).
    pub fn retention(&self) -> BTreeMap<Duration, Vec<RetiredSegments>> {
        let now = self.clock.now_ms();
        let mut renamed: BTreeMap<Duration, Vec<RetiredSegments>> = BTreeMap::new();
        let mut retired = Vec::new();
        let mut delays = Vec::new();
        // Files are renamed by their paths: no topic of the same name may begin before that is done.
        let mut no_image_meanwhile = self.applying.lock();
        for partition in self.all() {
            if let Some(segments) = partition.retention(now) {
                retired.push(segments);
                delays.push(partition.topic().settings().file_delete_delay);
            }
            if retired.len() >= REMOVAL_BATCH {
                set_aside(&mut delays, &mut retired, &mut renamed);
                MutexGuard::bump(&mut no_image_meanwhile);
            }
        }
        set_aside(&mut delays, &mut retired, &mut renamed);
        renamed
    }

    /// True if some partition is about to acknowledge from the page cache, which has to be put on record before.
    #[must_use]
    pub fn awaits_write_caching(&self) -> bool {
        !self.awaiting_write_caching.lock().is_empty()
    }

    /// Puts on record which partitions acknowledge from the page cache, all at once; from then on they do. Until then, and
    /// where it fails, they flush everything.
    pub fn note_write_caching(&self) {
        // A disk that stalls holds up one thread only.
        let Some(_one_at_a_time) = self.noting_write_caching.try_lock() else {
            return;
        };
        while self.awaits_write_caching() {
            let keys = std::mem::take(&mut *self.awaiting_write_caching.lock());
            let partitions: Vec<_> = keys
                .iter()
                .filter_map(|key| self.get(key.topic_id, key.partition))
                .filter(|partition| partition.awaits_write_caching())
                .collect();
            let named = partitions.iter().map(|partition| {
                let topic = partition.topic();
                (&**topic.name(), partition.index(), topic.id())
            });
            if let Err(error) = self.log_dir.note_write_caching(named) {
                tracing::warn!(%error, "write caching is not on record yet; everything is flushed");
                self.awaiting_write_caching.lock().extend(keys);
                return;
            }
            partitions
                .iter()
                .for_each(|partition| partition.write_caching_is_noted());
        }
    }

    /// Flushes cached writes of topics that have a `flush.ms`; all of them when their files are too many to stay open.
    pub fn flush_due(&self) {
        self.note_write_caching();
        let now = self.clock.now();
        let short_of_files = self.log_dir.was_short_of_files();
        for partition in self.all() {
            if short_of_files {
                partition.flush_all();
            } else if partition.topic().settings().cached_flush.interval < NEVER {
                partition.flush_if_due(now);
            }
        }
    }

    /// Forgets idempotent producers that have been silent for too long.
    pub fn expire_producers(&self) {
        let now = self.clock.now_ms();
        for partition in self.all() {
            partition.expire_producers(now);
        }
    }

    /// Removes directories that were moved aside longer ago than `retention`.
    pub fn remove_old_strays(&self, retention: Duration) {
        if let Err(error) = self.log_dir.remove_old_strays(retention, self.clock.now_ms()) {
            tracing::warn!(%error, "cannot remove what had been moved aside");
        }
    }

    /// Lets replicas look for lagging followers and forget abandoned requests.
    pub fn tick(&self) {
        let now = self.clock.now();
        for partition in self.all() {
            partition.tick(now);
        }
    }

    /// Closes all logs so that the next start needs no scan. Nothing is served afterwards.
    ///
    /// # Errors
    /// [`LogError`] of the first log that could not be closed: the next start then scans.
    pub fn close_clean(&self) -> Result<(), LogError> {
        if let Err(error) = self.checkpoint_high_watermarks(0) {
            tracing::warn!(%error, "cannot write the high watermarks");
        }
        close_all(&self.all())?;
        self.log_dir.close_clean()
    }
}

/// Closes the logs, several at a time: each waits for the disk, and ten thousand have to be done within the grace of a
/// stop.
fn close_all(partitions: &[Arc<Partition>]) -> Result<(), LogError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(partition) = partitions.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = partition.close_clean() {
                failed.lock().get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..partitions.len().min(CLOSING_THREADS) {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn set_aside(
    delays: &mut Vec<Duration>,
    retired: &mut Vec<RetiredSegments>,
    renamed: &mut BTreeMap<Duration, Vec<RetiredSegments>>,
) {
    if let Err(error) = set_segments_aside(retired) {
        tracing::warn!(%error, "cannot rename segments to remove them; the next start removes them");
    }
    for (delay, segments) in delays.drain(..).zip(retired.drain(..)) {
        renamed.entry(delay).or_default().push(segments);
    }
}
