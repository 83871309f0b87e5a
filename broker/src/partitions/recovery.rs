//! Start: opens every log of the data directory, several at a time, before the broker registers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_node::open_files::OpenFiles;
use highwater_proto::config::{BrokerLayers, StaticValues, TopicConfig, Values};
use highwater_proto::types::{PartitionIndex, TimestampMs, TopicId, TopicPartition};
use parking_lot::Mutex;

use super::checkpoint;
use crate::log::{DeletedDir, Log, LogConfig, LogDir, LogError, PartitionDir, Recovery};

/// Open files of the data directory's cache of handles, if the process may have that many.
const OPEN_FILES: usize = 10_000;
/// Logs that are opened at a time: enough to keep a disk busy.
const MAX_RECOVERY_THREADS: usize = 8;

/// What recovery found, for the controller: replicas that may not count as in sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Logs that end below their recorded flush point.
    pub short: Vec<TopicPartition>,
    /// Logs that cannot be read; they were moved nowhere, and are offline.
    pub offline: Vec<TopicPartition>,
    /// Flushed logs whose directory is gone.
    pub missing: Vec<TopicPartition>,
    /// Logs that may have acknowledged from the page cache before an unclean stop.
    pub untrusted: Vec<TopicPartition>,
    /// True if the last process stopped cleanly.
    pub clean: bool,
    /// Bytes that were read to find the ends of the logs.
    pub scanned_bytes: u64,
}

/// The logs of a data directory, open, and not yet claimed by an image.
#[derive(Debug)]
pub struct RecoveredLogs {
    pub(super) log_dir: Arc<LogDir>,
    pub(super) unclaimed: Unclaimed,
    report: RecoveryReport,
    /// Directories of deleted partitions whose removal was not finished.
    deleted: Vec<PathBuf>,
}

/// Logs and high watermarks by partition.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    logs: HashMap<TopicPartition, Log>,
    high_watermarks: HashMap<(String, PartitionIndex), i64>,
}

impl Unclaimed {
    /// The log, if there is one, and the high watermark that was remembered.
    pub(super) fn claim(&mut self, topic: &str, topic_id: TopicId, partition: PartitionIndex) -> (Option<Log>, i64) {
        let log = self.logs.remove(&TopicPartition { topic_id, partition });
        // Of a topic without a log here, the checkpoint speaks of an older one of this name.
        let checkpoint = self
            .high_watermarks
            .remove(&(topic.to_owned(), partition))
            .filter(|_| log.is_some());
        (log, checkpoint.unwrap_or(0))
    }

    pub(super) fn take_all(&mut self) -> Vec<Log> {
        self.high_watermarks = HashMap::new();
        std::mem::take(&mut self.logs).into_values().collect()
    }
}

impl RecoveredLogs {
    /// Opens the data directory and all logs in it. Slow: reads what was not flushed when the last process ended. What the
    /// topics want of their logs is known only once they are claimed; until then what the process was started with holds.
    ///
    /// # Errors
    /// [`LogError`] if the directory as a whole cannot be used: locked, not readable, malformed checkpoints.
    pub fn open(root: &Path, fixed: &StaticValues, now: TimestampMs) -> Result<Self, LogError> {
        let log_dir = LogDir::open(root, OPEN_FILES)?;
        let inventory = log_dir.inventory()?;
        let high_watermarks = checkpoint::read(root);
        let opened = open_all(&log_dir, inventory.partitions, &Arc::new(config(fixed)), now);
        let mut report = RecoveryReport {
            missing: inventory.missing.iter().filter_map(missing).collect(),
            short: log_dir.short(),
            untrusted: log_dir.untrusted(),
            clean: log_dir.was_clean(),
            ..RecoveryReport::default()
        };
        let mut lost = inventory.missing;
        let mut logs = HashMap::new();
        for (dir, topic_id, result) in opened {
            let key = TopicPartition {
                topic_id,
                partition: dir.partition,
            };
            match result {
                Ok((log, recovery)) => {
                    note(&mut report, key, &dir.name, &recovery);
                    lost.extend(recovery.short.map(|_| (dir.name.clone(), topic_id)));
                    logs.insert(key, log);
                }
                // Nothing is wrong with that log: it must not be taken for damaged, and copied anew.
                Err(error) if error.is_out_of_files() => {
                    return Err(LogError::TooFewFiles {
                        limit: OpenFiles::of_process().limit,
                        source: Box::new(error),
                    });
                }
                Err(error) => {
                    tracing::error!(partition = dir.name, %error, "replica is offline: its log cannot be recovered");
                    report.offline.push(key);
                }
            }
        }
        if !lost.is_empty() {
            log_dir.note_short(lost)?;
        }
        let unclaimed = Unclaimed { logs, high_watermarks };
        Ok(Self {
            log_dir,
            unclaimed,
            report,
            deleted: inventory.deleted,
        })
    }

    /// What the controller has to know.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Removes the directories of partitions that were deleted before the last process ended. Slow.
    pub fn remove_deleted(&mut self) {
        for path in self.deleted.drain(..) {
            if let Err(error) = DeletedDir::new(path).remove() {
                tracing::warn!(%error, "cannot remove the directory of a deleted partition");
            }
        }
    }
}

fn missing((name, topic_id): &(String, TopicId)) -> Option<TopicPartition> {
    let (_, partition) = name.rsplit_once('-')?;
    Some(TopicPartition {
        topic_id: *topic_id,
        partition: PartitionIndex(partition.parse().ok()?),
    })
}

fn note(report: &mut RecoveryReport, key: TopicPartition, name: &str, recovery: &Recovery) {
    report.scanned_bytes += recovery.scanned_bytes;
    if recovery.cut_bytes > 0 {
        tracing::info!(
            partition = name,
            bytes = recovery.cut_bytes,
            "cut off what the last process had not finished writing"
        );
    }
    if let Some(flush_point) = recovery.short {
        tracing::error!(partition = name, flushed = %flush_point.end, "flushed records are missing");
        report.short.push(key);
    }
}

/// What recovery found counts once it is flushed, and until then its files stay open: those of ten thousand logs at once
/// are more than a process may have. A failure is the disk's, which takes all its replicas offline.
fn flushed(mut log: Log) -> Log {
    if let Some(ticket) = log.take_flush_ticket() {
        let outcome = ticket.flush();
        log.complete_flush(&outcome);
    }
    log
}

type Opened = (PartitionDir, TopicId, Result<(Log, Recovery), LogError>);

/// What recovery itself obeys: how dense the indexes are that it rebuilds.
fn config(fixed: &StaticValues) -> LogConfig {
    let defaults = LogConfig::default();
    let resolved = TopicConfig::resolve(&Values::new(), &BrokerLayers::fixed(fixed));
    LogConfig {
        index_interval_bytes: resolved.map_or(defaults.index_interval_bytes, |topic| topic.index_interval_bytes.into()),
        ..defaults
    }
}

fn open_all(
    log_dir: &Arc<LogDir>,
    directories: Vec<PartitionDir>,
    config: &Arc<LogConfig>,
    now: TimestampMs,
) -> Vec<Opened> {
    // Without a topic id nothing was ever acknowledged in it: it was being created.
    let known: Vec<(PartitionDir, TopicId)> = directories
        .into_iter()
        .filter_map(|dir| dir.topic_id.map(|id| (dir, id)))
        .collect();
    let next = AtomicUsize::new(0);
    let opened = Mutex::new(Vec::with_capacity(known.len()));
    let work = || {
        while let Some((dir, topic_id)) = known.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = Log::open(log_dir, &dir.topic, dir.partition, *topic_id, Arc::clone(config), now);
            let result = result.map(|(log, recovery)| (flushed(log), recovery));
            opened.lock().push((dir.clone(), *topic_id, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..known.len().min(MAX_RECOVERY_THREADS) {
            scope.spawn(work);
        }
        work();
    });
    opened.into_inner()
}
