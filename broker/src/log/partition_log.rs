//! The log of one partition: what it holds, and what of it is on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_proto::types::{LeaderEpoch, Offset, TimestampMs, TopicId};

use crate::log::config::LogConfig;
use crate::log::durability::Durability;
use crate::log::error::LogError;
use crate::log::files::{sync_dir, write_at};
use crate::log::fill::Fill;
use crate::log::flush::{Dirty, FlushOutcome, FlushTicket};
use crate::log::index::SegmentFiles;
use crate::log::leader_epochs::{self, EpochEnd, LeaderEpochs};
use crate::log::log_dir::{FlushPoint, LogDir};
use crate::log::partition_dir::{self, DeletedDir};
use crate::log::producer_snapshot;
use crate::log::producer_state::ProducerState;
use crate::log::segment::Segment;
use crate::log::trust::Caching;

/// The log of one partition. Not synchronised: it lives behind its partition's lock. Appends and hot reads are quick;
/// [`Self::open`], truncation, retention and [`Self::close_clean`] may wait for the disk.
#[derive(Debug)]
pub struct Log {
    pub(super) log_dir: Arc<LogDir>,
    /// The partition's directory, which exists from the first append on.
    pub(super) dir: PathBuf,
    pub(super) has_dir: bool,
    pub(super) topic_id: TopicId,
    pub(super) config: Arc<LogConfig>,
    /// Ascending and without gaps; the last one is active. Empty before the first append.
    pub(super) segments: Vec<Segment>,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    /// Epoch of the last batch.
    pub(super) last_epoch: Option<LeaderEpoch>,
    pub(super) durability: Durability,
    pub(super) epochs: LeaderEpochs,
    pub(super) producers: ProducerState,
    pub(super) dirty: Dirty,
    pub(super) caching: Caching,
}

impl Log {
    /// First offset that may be read.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Offset of the next record.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Up to where the replica may acknowledge: what is on disk, or the log end with `write.caching` once that is on
    /// record. After recovery 0 until what was recovered has been flushed once.
    #[must_use]
    pub fn flushed_end(&self) -> Offset {
        if self.caches_writes() {
            self.log_end
        } else {
            self.durability.end()
        }
    }

    /// Up to where the log is on disk, whatever `write.caching` says.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.durability.end()
    }

    /// Leader epoch of the last batch; None for an empty log (Kafka's -1).
    #[must_use]
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.last_epoch
    }

    /// The leader epochs of the log.
    #[must_use]
    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Answers OffsetForLeaderEpoch: see [`LeaderEpochs::end_offset_for`].
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_offset_for(epoch, self.log_end)
    }

    /// Records that this replica leads from the log end on. To be flushed before it serves.
    pub fn become_leader(&mut self, epoch: LeaderEpoch) {
        if self.epochs.assign(epoch, self.log_end) && self.has_dir {
            self.dirty.epochs = true;
        }
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Number of segments.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Base offset of the active segment; the log end before the first append.
    #[must_use]
    pub fn active_base(&self) -> Offset {
        self.segments.last().map_or(self.log_end, |segment| segment.base)
    }

    /// `<topic>-<partition>`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// Changes the configuration. Turning `write.caching` off makes the flushed end the real one at once.
    pub fn set_config(&mut self, config: Arc<LogConfig>) {
        let cached = self.config.write_caching;
        self.config = config;
        self.caching_changed(cached);
    }

    /// Number of idempotent producers remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// Forgets producers whose last batch is older than `producer.id.expiration.ms` by its own timestamp.
    pub fn expire_producers(&mut self, now: TimestampMs) {
        let after = self.config.producer_id_expiration;
        self.producers.expire(now, after);
    }

    pub(super) fn files(&self, segment: &Segment) -> SegmentFiles<'_> {
        SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: segment.base.0,
        }
    }

    /// True if anything waits to be flushed.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes the work of the next flush; None if there is none, or if one is under way (its completion is followed by
    /// another round).
    pub fn take_flush_ticket(&mut self) -> Option<FlushTicket> {
        if self.dirty.is_empty() {
            return None;
        }
        let claim = self.durability.begin(self.log_end)?;
        let fill = self.plan_fill();
        let dirty = std::mem::take(&mut self.dirty);
        let checkpoint = || (self.dir.join(leader_epochs::FILE_NAME), self.epochs.to_checkpoint());
        Some(FlushTicket {
            log_dir: Arc::clone(&self.log_dir),
            fill,
            files: dirty.files,
            epoch_checkpoint: dirty.epochs.then(checkpoint),
            dir: (dirty.dir || dirty.epochs).then(|| self.dir.clone()),
            created: dirty.created,
            claim,
            epoch: self.last_epoch,
        })
    }

    /// Filler that the coming flush writes ahead of the batches in the active segment.
    fn plan_fill(&mut self) -> Option<Arc<Fill>> {
        if self.caches_writes() {
            return None;
        }
        let active = self.segments.last_mut()?;
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: active.base.0,
        };
        let file = active.file(files).ok().filter(|file| self.dirty.contains(file))?;
        active.plan_fill(&file, self.config.segment_bytes)
    }

    /// Cuts off what was filled ahead of the batches, because no more seem to come. The file then holds
    /// what a segment of Apache Kafka does.
    pub fn trim(&mut self) {
        let Some(active) = self.segments.last_mut() else { return };
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: active.base.0,
        };
        // Filler that stays does no harm: a later attempt or the next recovery cuts them.
        if let Ok(Some(file)) = active.trim(files) {
            self.dirty.add(&file, true);
        }
    }

    /// Applies the end of a flush. Some: the durable end moved there. A flush that began before a truncation, or that
    /// failed, changes nothing.
    pub fn complete_flush(&mut self, outcome: &FlushOutcome) -> Option<Offset> {
        if let Some(redo) = outcome.redo {
            self.dirty.epochs = true;
            self.dirty.end = true;
            self.dirty.created = self.dirty.created.max(redo.created);
        }
        let moved = self.durability.completed(outcome.claim, outcome.flushed);
        self.trust_if_flushed();
        let end = moved?;
        let epoch = outcome.epoch.unwrap_or(LeaderEpoch(-1));
        self.log_dir
            .record_flush(self.name(), self.topic_id, FlushPoint { end, epoch });
        Some(end)
    }

    /// Closes the log so that the next start needs no scan: completes indexes and producer snapshot and waits until
    /// all is on disk. [`LogDir::close_clean`] follows when all logs are closed.
    ///
    /// # Errors
    /// [`LogError`]; the disk must then not be marked clean.
    pub fn close_clean(&mut self) -> Result<(), LogError> {
        self.log_dir.check()?;
        self.prepare_close()?;
        self.durability.abandon_flush();
        let Some(ticket) = self.take_flush_ticket() else {
            return Ok(());
        };
        let outcome = ticket.flush();
        self.log_dir.check()?;
        self.complete_flush(&outcome);
        if outcome.is_flushed() {
            Ok(())
        } else {
            let reason = std::io::Error::other("there is no room, or no file handle, for all of it");
            Err(LogError::io("flush", &self.dir, reason))
        }
    }

    /// Completes what is only in memory.
    pub(super) fn prepare_close(&mut self) -> Result<(), LogError> {
        if !self.has_dir {
            return Ok(());
        }
        if let Some(active) = self.segments.last_mut() {
            let files = SegmentFiles {
                cache: self.log_dir.files(),
                dir: &self.dir,
                base: active.base.0,
            };
            self.dirty.add_finished(&active.finish(files)?);
            self.write_snapshot()?;
        }
        self.dirty.dir = true;
        self.dirty.end = true;
        Ok(())
    }

    /// Writes the producers' state as of the log end. Flushed with the next ticket.
    pub(super) fn write_snapshot(&mut self) -> Result<(), LogError> {
        let path = producer_snapshot::path(&self.dir, self.log_end);
        let content = producer_snapshot::encode(&self.producers);
        self.write_new_file(&path, &content)
    }

    /// Writes the state at the start of a segment if it is missing: the segments before may be removed one day.
    pub(super) fn write_snapshot_if_missing(&mut self, producers: &ProducerState) -> Result<(), LogError> {
        let path = producer_snapshot::path(&self.dir, producers.end());
        if path.exists() {
            Ok(())
        } else {
            self.write_new_file(&path, &producer_snapshot::encode(producers))
        }
    }

    /// Writes a small file of the partition's directory, to be flushed with the next ticket.
    fn write_new_file(&mut self, path: &Path, content: &[u8]) -> Result<(), LogError> {
        let file = std::fs::File::create(path).map_err(|e| LogError::io("create", path, e))?;
        write_at(&file, content, 0).map_err(|e| LogError::io("write", path, e))?;
        self.dirty.add(&Arc::new(file), false);
        self.dirty.dir = true;
        Ok(())
    }

    /// Creates the partition's directory if there is none yet.
    pub(super) fn ensure_dir(&mut self) -> Result<(), LogError> {
        if self.has_dir {
            return Ok(());
        }
        match std::fs::create_dir(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(LogError::io("create", &self.dir, e));
            }
            _ => {}
        }
        let path = self.dir.join(partition_dir::METADATA_FILE);
        self.write_new_file(&path, partition_dir::metadata(self.topic_id).as_bytes())?;
        self.dirty.epochs = !self.epochs.entries().is_empty();
        self.dirty.created = Some(self.log_dir.note_creation());
        self.has_dir = true;
        Ok(())
    }

    /// Deletes the log: its directory is renamed at once, so that a new partition of the same name can start, and the
    /// files go with [`DeletedDir::remove`] after `file.delete.delay.ms`. None if nothing was ever written.
    ///
    /// # Errors
    /// [`LogError::Io`] if the directory cannot be renamed; it then stays.
    pub fn delete(self) -> Result<Option<DeletedDir>, LogError> {
        self.log_dir.forget(self.name());
        if !self.has_dir {
            return Ok(None);
        }
        let to = self
            .log_dir
            .root()
            .join(partition_dir::renamed(self.name(), partition_dir::DELETE_SUFFIX));
        std::fs::rename(&self.dir, &to).map_err(|e| LogError::io("rename", &self.dir, e))?;
        sync_dir(self.log_dir.root())?;
        Ok(Some(DeletedDir::new(to)))
    }
}
