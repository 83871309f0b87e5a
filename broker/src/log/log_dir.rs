//! One data directory (Kafka's "log dir", one per disk): the files that all its partitions share.
//!
//! `.lock` keeps a second process out. `.kafka_cleanshutdown` says that nothing has to be scanned. `flush-point` holds
//! the flushed end of each partition and tells a torn tail from lost data; `recovery-point-offset-checkpoint` and
//! `log-start-offset-checkpoint` are Kafka's. `trust-checkpoint` is in [`crate::log::trust`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use highwater_node::open_files::OpenFiles;
use highwater_proto::types::{LeaderEpoch, Offset, TopicId};
use parking_lot::Mutex;

use crate::log::checkpoint;
use crate::log::error::LogError;
use crate::log::files::{FileCache, replace_file, sync_dir};
use crate::log::partition_dir::{self, PartitionDir};
use crate::log::trust::Distrust;

const LOCK_FILE: &str = ".lock";
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
const FLUSH_POINT_FILE: &str = "flush-point";
const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
const LOG_START_FILE: &str = "log-start-offset-checkpoint";
/// How often `flush-point` may be rewritten.
const FLUSH_POINT_INTERVAL: Duration = Duration::from_secs(1);

/// Up to where a partition is known to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushPoint {
    /// The flushed end offset.
    pub end: Offset,
    /// Leader epoch of the last batch below it.
    pub epoch: LeaderEpoch,
}

/// What the shared files say about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The topic the entry is about; None if only Kafka's own checkpoints name the partition.
    pub topic_id: Option<TopicId>,
    /// The flushed end.
    pub flush_point: Option<FlushPoint>,
    /// The log start offset, if it was raised above the first segment.
    pub log_start: Option<Offset>,
}

type Table = HashMap<Box<str>, Recorded, foldhash::fast::RandomState>;

/// A data directory. Shared by all logs in it and by its flusher.
#[derive(Debug)]
pub struct LogDir {
    root: PathBuf,
    files: FileCache,
    clean: bool,
    failed: OnceLock<Arc<str>>,
    table: Mutex<Table>,
    table_changed: AtomicBool,
    /// The process ran out of file handles since somebody asked.
    short_of_files: AtomicBool,
    pub(super) distrust: Distrust,
    last_write: Mutex<Option<Instant>>,
    creations: AtomicU64,
    creations_synced: Mutex<u64>,
    _lock: File,
}

/// What lies in a data directory at start.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Partitions, by directory.
    pub partitions: Vec<PartitionDir>,
    /// Directories of deleted partitions whose removal was not finished: remove them.
    pub deleted: Vec<PathBuf>,
    /// Directories that were moved aside and when the file system says that happened.
    pub stray: Vec<PathBuf>,
    /// Partitions (`<topic>-<partition>`) with flushed records whose directory is gone: their data is lost.
    pub missing: Vec<(String, TopicId)>,
}

impl LogDir {
    /// Opens a data directory, which is created if need be, for this process alone. At most about `open_files` files
    /// are kept open, or the share of the files that the process may open. Takes the clean-shutdown marker away: from now on a stop is unclean until [`Self::close_clean`].
    ///
    /// # Errors
    /// [`LogError::Locked`] if another process has it, [`LogError::Malformed`] if a checkpoint cannot be read.
    pub fn open(root: &Path, open_files: usize) -> Result<Arc<Self>, LogError> {
        std::fs::create_dir_all(root).map_err(|e| LogError::io("create", root, e))?;
        let lock_path = root.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path);
        let lock = lock.map_err(|e| LogError::io("open", &lock_path, e))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LogError::Locked {
                    root: root.to_path_buf(),
                });
            }
            Err(error) => return Err(LogError::io("lock", lock_path, error)),
        }
        let marker = root.join(CLEAN_SHUTDOWN_FILE);
        let clean = match std::fs::remove_file(&marker) {
            Ok(()) => {
                sync_dir(root)?;
                true
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(LogError::io("remove", marker, e)),
        };
        Ok(Arc::new(Self {
            root: root.to_path_buf(),
            files: FileCache::new(open_files.min(OpenFiles::of_process().log_files)),
            clean,
            failed: OnceLock::new(),
            table: Mutex::new(load_table(root)?),
            table_changed: AtomicBool::new(false),
            short_of_files: AtomicBool::new(false),
            distrust: Distrust::load(root, clean)?,
            last_write: Mutex::new(None),
            creations: AtomicU64::new(0),
            creations_synced: Mutex::new(0),
            _lock: lock,
        }))
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// True if the last process stopped cleanly.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    pub(super) fn files(&self) -> &FileCache {
        &self.files
    }

    /// Something failed. True if that was for want of file handles, and the next attempt may find some.
    pub fn relieve(&self, error: &LogError) -> bool {
        if !error.is_out_of_files() {
            return false;
        }
        self.short_of_files.store(true, Ordering::Relaxed);
        self.files.give_up_some()
    }

    /// True if the process has run out of file handles since the last call: files that wait to be flushed should not
    /// hold on to theirs for longer than need be.
    pub fn was_short_of_files(&self) -> bool {
        self.short_of_files.swap(false, Ordering::Relaxed)
    }

    /// What lies in the directory. To be called before logs are opened.
    ///
    /// # Errors
    /// [`LogError::Io`] if it cannot be listed.
    pub fn inventory(&self) -> Result<Inventory, LogError> {
        let mut inventory = Inventory::default();
        for name in list(&self.root)? {
            let path = self.root.join(&name);
            if !path.is_dir() {
                continue;
            }
            if name.ends_with(partition_dir::DELETE_SUFFIX) {
                inventory.deleted.push(path);
            } else if name.ends_with(partition_dir::STRAY_SUFFIX) {
                inventory.stray.push(path);
            } else if let Some(partition) = PartitionDir::read(&self.root, &name)? {
                inventory.partitions.push(partition);
            }
        }
        let table = self.table.lock();
        let lost = table
            .iter()
            .filter(|(name, recorded)| recorded.flush_point.is_some() && !self.root.join(&***name).is_dir());
        inventory.missing = lost
            .filter_map(|(name, recorded)| Some((name.to_string(), recorded.topic_id?)))
            .collect();
        Ok(inventory)
    }

    /// Moves a partition's directory aside, to be kept for a while (Kafka's `-stray`). Returns where it is now.
    ///
    /// # Errors
    /// [`LogError::Io`] if it cannot be renamed.
    pub fn move_aside(&self, name: &str) -> Result<PathBuf, LogError> {
        let to = self
            .root
            .join(partition_dir::renamed(name, partition_dir::STRAY_SUFFIX));
        let from = self.root.join(name);
        std::fs::rename(&from, &to).map_err(|e| LogError::io("rename", from, e))?;
        self.forget(name);
        sync_dir(&self.root)?;
        Ok(to)
    }

    /// Marks the disk as failed. The first reason stays.
    pub(super) fn fail(&self, error: &LogError) {
        let reason: Arc<str> = match error {
            LogError::DiskFailed { .. } => return,
            other => other.to_string().into(),
        };
        let _ = self.failed.set(reason);
    }

    /// Why the disk failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failed.get().cloned()
    }

    /// # Errors
    /// [`LogError::DiskFailed`] if a flush on this disk has ever failed.
    pub fn check(&self) -> Result<(), LogError> {
        match self.failed.get() {
            Some(reason) => Err(LogError::DiskFailed {
                root: self.root.clone(),
                reason: Arc::clone(reason),
            }),
            None => Ok(()),
        }
    }

    /// Takes note that a directory was created, renamed or removed in this one.
    pub(super) fn note_creation(&self) -> u64 {
        self.creations.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Makes everything up to creation `number` durable. Many that wait share one fsync.
    pub(super) fn sync_creations(&self, number: u64) -> Result<(), LogError> {
        let mut synced = self.creations_synced.lock();
        if *synced >= number {
            return Ok(());
        }
        let seen = self.creations.load(Ordering::Acquire);
        sync_dir(&self.root)?;
        *synced = seen;
        Ok(())
    }

    /// What is recorded about a partition.
    pub(super) fn recorded(&self, name: &str) -> Option<Recorded> {
        self.table.lock().get(name).copied()
    }

    /// Records a flushed end. It is written with the next [`Self::write_flush_points`].
    pub(super) fn record_flush(&self, name: &str, topic_id: TopicId, flush_point: FlushPoint) {
        self.record(name, topic_id, |recorded| recorded.flush_point = Some(flush_point));
    }

    /// Records a log start offset; None if it is the base offset of the first segment.
    pub(super) fn record_log_start(&self, name: &str, topic_id: TopicId, log_start: Option<Offset>) {
        self.record(name, topic_id, |recorded| recorded.log_start = log_start);
    }

    fn record(&self, name: &str, topic_id: TopicId, change: impl FnOnce(&mut Recorded)) {
        let mut table = self.table.lock();
        let fresh = || Recorded {
            topic_id: Some(topic_id),
            flush_point: None,
            log_start: None,
        };
        let recorded = match table.get_mut(name) {
            Some(recorded) => recorded,
            None => table.entry(name.into()).or_insert_with(fresh),
        };
        if recorded.topic_id.is_some_and(|known| known != topic_id) {
            *recorded = fresh();
        }
        recorded.topic_id = Some(topic_id);
        change(recorded);
        drop(table);
        self.table_changed.store(true, Ordering::Release);
    }

    /// Drops what is recorded about a partition.
    pub(super) fn forget(&self, name: &str) {
        self.distrust.forget(name);
        self.table.lock().remove(name);
        self.table_has_changed();
    }

    /// Drops what is recorded about all partitions.
    pub(super) fn forget_all(&self) {
        let names: Vec<Box<str>> = self.table.lock().keys().cloned().collect();
        names.iter().for_each(|name| self.forget(name));
    }

    pub(super) fn table_has_changed(&self) {
        self.table_changed.store(true, Ordering::Release);
    }

    /// Writes something while nobody else writes the shared files, so that older content never replaces newer.
    pub(super) fn write_alone<T>(&self, write: impl FnOnce() -> T) -> T {
        let _alone = self.last_write.lock();
        write()
    }

    /// Writes the shared files if anything changed and the last write is a second ago. Called by the flusher.
    /// True if something waits for the second to pass.
    ///
    /// # Errors
    /// [`LogError::Io`]; what is on disk is then older, which is safe.
    pub fn write_flush_points_if_due(&self) -> Result<bool, LogError> {
        if !self.table_changed.load(Ordering::Acquire) {
            return Ok(false);
        }
        // Whoever finds another thread writing leaves it to that one.
        let Some(mut last_write) = self.last_write.try_lock() else {
            return Ok(true);
        };
        if last_write.is_some_and(|at| at.elapsed() < FLUSH_POINT_INTERVAL) {
            return Ok(true);
        }
        *last_write = Some(Instant::now());
        self.write_table()?;
        Ok(false)
    }

    /// Writes the shared files now: before anything is cut off or removed that they vouch for, and at shutdown.
    ///
    /// # Errors
    /// [`LogError::Io`] if they could not be written; what they vouch for must then stay.
    pub fn write_flush_points(&self) -> Result<(), LogError> {
        let mut last_write = self.last_write.lock();
        *last_write = Some(Instant::now());
        self.write_table()
    }

    /// The caller holds `last_write`, so that an older table never replaces a newer one.
    fn write_table(&self) -> Result<(), LogError> {
        self.table_changed.store(false, Ordering::Release);
        let table = self.table.lock().clone();
        let result = self.write_files(&table);
        if result.is_err() {
            self.table_changed.store(true, Ordering::Release);
        }
        result
    }

    fn write_files(&self, table: &Table) -> Result<(), LogError> {
        let named = table.iter().filter_map(|(name, recorded)| {
            let (topic, partition) = name.rsplit_once('-')?;
            Some((topic, partition, recorded))
        });
        let mut flush_points = Vec::new();
        let mut recovery_points = Vec::new();
        let mut log_starts = Vec::new();
        for (topic, partition, recorded) in named {
            if let (Some(point), Some(id)) = (recorded.flush_point, recorded.topic_id) {
                flush_points.push(format!("{topic} {partition} {id} {} {}", point.end, point.epoch));
                recovery_points.push(format!("{topic} {partition} {}", point.end));
            }
            if let Some(log_start) = recorded.log_start {
                log_starts.push(format!("{topic} {partition} {log_start}"));
            }
        }
        for (name, lines) in [
            (FLUSH_POINT_FILE, flush_points),
            (RECOVERY_POINT_FILE, recovery_points),
            (LOG_START_FILE, log_starts),
        ] {
            replace_file(&self.root.join(name), checkpoint::format(lines).as_bytes())?;
        }
        self.distrust.write_if_changed(&self.root)?;
        sync_dir(&self.root)
    }

    /// Marks the directory as cleanly stopped. Every log must have been closed with
    /// [`crate::log::Log::close_clean`] and nothing may be appended afterwards.
    ///
    /// # Errors
    /// [`LogError`] if that could not be made durable; the next start then scans.
    pub fn close_clean(&self) -> Result<(), LogError> {
        self.check()?;
        self.distrust.all_is_flushed();
        self.write_flush_points()?;
        // Kafka writes the broker epoch here; ours is in the metadata.
        replace_file(
            &self.root.join(CLEAN_SHUTDOWN_FILE),
            br#"{"version":0,"brokerEpoch":-1}"#,
        )?;
        sync_dir(&self.root)
    }
}

/// Names in a directory.
pub(super) fn list(dir: &Path) -> Result<Vec<String>, LogError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| LogError::io("list", dir, e))? {
        let entry = entry.map_err(|e| LogError::io("list", dir, e))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn load_table(root: &Path) -> Result<Table, LogError> {
    let mut table = Table::default();
    let flush_points = checkpoint::read(&root.join(FLUSH_POINT_FILE), |line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [topic, partition, id, end, epoch] = fields[..] else {
            return None;
        };
        let flush_point = FlushPoint {
            end: Offset(end.parse().ok()?),
            epoch: LeaderEpoch(epoch.parse().ok()?),
        };
        Some((
            format!("{topic}-{partition}"),
            partition_dir::parse_topic_id(id)?,
            flush_point,
        ))
    })?;
    for (name, topic_id, flush_point) in flush_points {
        let recorded = Recorded {
            topic_id: Some(topic_id),
            flush_point: Some(flush_point),
            log_start: None,
        };
        table.insert(name.into(), recorded);
    }
    let log_starts = checkpoint::read(&root.join(LOG_START_FILE), |line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [topic, partition, start] = fields[..] else {
            return None;
        };
        Some((format!("{topic}-{partition}"), Offset(start.parse().ok()?)))
    })?;
    for (name, log_start) in log_starts {
        let fresh = Recorded {
            topic_id: None,
            flush_point: None,
            log_start: None,
        };
        table.entry(name.into()).or_insert(fresh).log_start = Some(log_start);
    }
    Ok(table)
}
