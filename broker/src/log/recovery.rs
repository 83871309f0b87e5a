//! Opening a log: what is known to be on disk is taken as it is, what comes behind is read and cut at the first batch
//! that is not whole.

use std::sync::Arc;

use highwater_proto::record::BatchHeader;
use highwater_proto::types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

use crate::log::config::LogConfig;
use crate::log::durability::Durability;
use crate::log::error::LogError;
use crate::log::files::{remove_file, sync_dir};
use crate::log::flush::Dirty;
use crate::log::index::SegmentFiles;
use crate::log::leader_epochs::{EpochStart, LeaderEpochs};
use crate::log::log_dir::{FlushPoint, LogDir, list};
use crate::log::partition_dir;
use crate::log::partition_log::Log;
use crate::log::producer_state::ProducerState;
use crate::log::scan::{Found, Scan};
use crate::log::segment::{LOG_SUFFIX, Segment, corrupt};
use crate::log::trust::Caching;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were read to find the end.
    pub scanned_bytes: u64,
    /// Bytes behind the end that were cut off.
    pub cut_bytes: u64,
    /// Segments behind the end that were removed.
    pub removed_segments: usize,
    /// Segments whose indexes were rebuilt.
    pub rebuilt_indexes: usize,
    /// The flush point, if the log ends before it: flushed records are lost and have to come from the leader.
    pub short: Option<FlushPoint>,
}

/// State of a scan over several segments.
struct Tail {
    /// Offset at which the next batch has to start.
    expected: Offset,
    /// Epoch of the last batch.
    epoch: LeaderEpoch,
    /// Below this offset everything was flushed.
    flushed: Offset,
    /// Epochs met, with their first offset.
    epochs: Vec<EpochStart>,
}

impl Log {
    /// Opens the log of a partition, or begins one of which nothing is on disk until the first append. `now` is the
    /// wall clock. Slow: it reads all that was not flushed when the last process ended.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if flushed bytes are damaged: the replica has to be repaired from its leader.
    /// [`LogError::ForeignTopicId`] if the directory belongs to another topic: see [`LogDir::move_aside`].
    pub fn open(
        log_dir: &Arc<LogDir>,
        topic: &str,
        partition: PartitionIndex,
        topic_id: TopicId,
        config: Arc<LogConfig>,
        now: TimestampMs,
    ) -> Result<(Self, Recovery), LogError> {
        log_dir.check()?;
        let name = partition_dir::name(topic, partition);
        let recorded = log_dir
            .recorded(&name)
            .filter(|recorded| recorded.topic_id.is_none_or(|id| id == topic_id));
        let flush_point = recorded.and_then(|recorded| recorded.flush_point);
        let mut log = Self {
            log_dir: Arc::clone(log_dir),
            dir: log_dir.root().join(&name),
            has_dir: false,
            topic_id,
            config,
            segments: Vec::new(),
            log_start: Offset(0),
            log_end: Offset(0),
            last_epoch: None,
            durability: Durability::default(),
            epochs: LeaderEpochs::default(),
            producers: ProducerState::default(),
            dirty: Dirty::default(),
            caching: Caching::Unnoted,
        };
        let mut recovery = Recovery::default();
        if log.find_dir(&name, flush_point)? {
            log.has_dir = true;
            let log_start = recorded.and_then(|recorded| recorded.log_start);
            recovery = log.recover(flush_point, log_start, now)?;
        }
        // An empty log (all records were deleted) has no epoch to compare.
        let lost =
            |point: &FlushPoint| log.log_end < point.end || log.last_epoch.is_some_and(|epoch| epoch < point.epoch);
        recovery.short = flush_point.filter(lost);
        log.recall_caching();
        Ok((log, recovery))
    }

    /// True if the partition has a directory of its own.
    fn find_dir(&self, name: &str, flush_point: Option<FlushPoint>) -> Result<bool, LogError> {
        if !self.dir.is_dir() {
            return Ok(false);
        }
        match partition_dir::read_topic_id(&self.dir)? {
            Some(found) if found == self.topic_id => Ok(true),
            Some(found) => Err(LogError::ForeignTopicId {
                path: self.dir.clone(),
                found,
                expected: self.topic_id,
            }),
            None if flush_point.is_some() => {
                let path = self.dir.join(partition_dir::METADATA_FILE);
                Err(LogError::Malformed {
                    path,
                    reason: "it names no topic id".to_owned(),
                })
            }
            // The power failed before its first flush: nothing in it was ever acknowledged.
            None => {
                self.log_dir.move_aside(name)?;
                Ok(false)
            }
        }
    }

    fn recover(
        &mut self,
        flush_point: Option<FlushPoint>,
        log_start: Option<Offset>,
        now: TimestampMs,
    ) -> Result<Recovery, LogError> {
        let mut bases = self.tidy(log_start)?;
        self.epochs = LeaderEpochs::load(&self.dir)?;
        if bases.is_empty() {
            let start = log_start.unwrap_or(Offset(0));
            (self.log_start, self.log_end) = (start, start);
            self.epochs.clear();
            self.producers = ProducerState::empty_at(start);
            self.distrust()?;
            return Ok(Recovery::default());
        }
        let mut recovery = Recovery::default();
        let clean = self.log_dir.was_clean() && self.load_clean(&bases, flush_point, &mut recovery, now)?;
        if !clean {
            recovery = Recovery::default();
            self.segments.clear();
            self.scan(&mut bases, flush_point, &mut recovery, now)?;
        }
        let first = bases.first().copied().unwrap_or_default();
        self.log_start = log_start.unwrap_or(first).max(first);
        if self.log_start > first {
            self.log_dir
                .record_log_start(self.name(), self.topic_id, Some(self.log_start));
        }
        if self.log_start > self.log_end {
            // Deleted up to beyond what is left of the log.
            let start = self.log_start;
            self.restart_at(start, now)?;
            return Ok(recovery);
        }
        self.complete_epochs()?;
        self.epochs.truncate_from_start(self.log_start);
        if self.size() == 0 {
            // What the checkpoint says is about records that are gone.
            self.epochs.clear();
        }
        self.last_epoch = self.find_last_epoch()?;
        let flushed = flush_point.map_or(Offset(-1), |point| point.end);
        self.rebuild_producers(if clean { self.log_end } else { flushed })?;
        if let Some(active) = self.segments.last() {
            let first = active.locate(self.files(active), active.base)?;
            let timestamp = first.map(|found| found.header.max_timestamp);
            if let Some(active) = self.segments.last_mut() {
                active.first_timestamp = timestamp;
            }
        }
        Ok(recovery)
    }

    /// Removes what an interrupted change left behind. Returns the base offsets of the segments.
    fn tidy(&self, log_start: Option<Offset>) -> Result<Vec<Offset>, LogError> {
        let names = list(&self.dir)?;
        let mut bases: Vec<Offset> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".log").filter(|digits| digits.len() == 20))
            .filter_map(|digits| digits.parse().ok().map(Offset))
            .collect();
        bases.sort_unstable();
        // Retired segments whose removal a crash undid, or that it prevented.
        while let (Some(start), [oldest, next, ..]) = (log_start, &bases[..])
            && *next <= start
        {
            self.remove_segment_files(*oldest)?;
            bases.remove(0);
        }
        for name in names {
            let unfinished = [".tmp", ".deleted", ".cleaned", ".swap"]
                .iter()
                .any(|suffix| name.ends_with(suffix));
            let orphan = [".index", ".timeindex", ".txnindex"].iter().any(|suffix| {
                let base = name
                    .strip_suffix(suffix)
                    .and_then(|digits| digits.parse().ok().map(Offset));
                base.is_some_and(|base| bases.binary_search(&base).is_err())
            });
            if unfinished || orphan {
                remove_file(&self.dir.join(name))?;
            }
        }
        Ok(bases)
    }

    /// Takes all segments as they are, after a clean stop. False if the files do not bear that out.
    fn load_clean(
        &mut self,
        bases: &[Offset],
        flush_point: Option<FlushPoint>,
        recovery: &mut Recovery,
        now: TimestampMs,
    ) -> Result<bool, LogError> {
        for base in bases {
            match self.load_segment(*base, recovery, now) {
                Ok(segment) => self.segments.push(segment),
                Err(LogError::Corrupt { .. }) => return Ok(false),
                Err(other) => return Err(other),
            }
        }
        let Some(active) = self.segments.last() else {
            return Ok(false);
        };
        let end = match active.last_batch(self.files(active)) {
            Ok(last) => last.map_or(active.base, |found| found.header.next_offset()),
            Err(LogError::Corrupt { .. }) => return Ok(false),
            Err(other) => return Err(other),
        };
        if flush_point.is_some_and(|point| point.end != end) {
            return Ok(false);
        }
        self.log_end = end;
        self.durability = Durability::recovered(end, true);
        self.epochs.truncate_from_end(end);
        Ok(true)
    }

    /// A segment that is known to be on disk as a whole. Missing indexes are rebuilt from its headers.
    fn load_segment(&self, base: Offset, recovery: &mut Recovery, now: TimestampMs) -> Result<Segment, LogError> {
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: base.0,
        };
        let path = files.path(LOG_SUFFIX);
        let size = std::fs::metadata(&path)
            .map_err(|e| LogError::io("open", &path, e))?
            .len();
        if let Some(segment) = Segment::load(files, size, now)? {
            return Ok(segment);
        }
        recovery.rebuilt_indexes += 1;
        let mut segment = Segment::empty(base, now);
        let file = segment.file(files)?;
        let mut scan = Scan::headers(&file, 0, size);
        loop {
            match scan.peek().map_err(|e| LogError::io("read", &path, e))? {
                Found::Batch(header) => {
                    segment.note(&header, self.config.index_interval_bytes);
                    segment.spill_if_due(files)?;
                    scan.advance(&header);
                }
                Found::End => break,
                other => return Err(corrupt(files, scan.position(), other)),
            }
        }
        segment.finish(files)?;
        Ok(segment)
    }

    /// Finds the end after an unclean stop.
    fn scan(
        &mut self,
        bases: &mut Vec<Offset>,
        flush_point: Option<FlushPoint>,
        recovery: &mut Recovery,
        now: TimestampMs,
    ) -> Result<(), LogError> {
        let first = bases.first().copied().unwrap_or_default();
        let flushed = flush_point.map_or(first, |point| point.end).max(first);
        // A segment that ends just at the flush point may have a tail that a truncation cut off, so it is read too.
        let from = bases.partition_point(|base| *base < flushed).saturating_sub(1);
        let mut tail = Tail {
            expected: first,
            epoch: LeaderEpoch(-1),
            flushed,
            epochs: Vec::new(),
        };
        for at in 0..from {
            let segment = self.load_segment(bases[at], recovery, now)?;
            let files = self.files(&segment);
            if let Some(last) = segment.last_batch(files)? {
                (tail.expected, tail.epoch) = (last.header.next_offset(), last.header.leader_epoch);
            }
            self.check_follows(&tail, bases[at + 1], files, segment.size)?;
            self.segments.push(segment);
        }
        let mut kept = from;
        for (at, base) in bases.iter().enumerate().skip(from) {
            if at > from && !self.follows(tail.expected, *base) {
                self.check_follows_if_flushed(&tail, *base)?;
                break;
            }
            tail.expected = *base;
            let whole = self.scan_segment(*base, &mut tail, recovery, now)?;
            kept = at + 1;
            if !whole {
                if let Some(next) = bases.get(kept) {
                    self.check_follows_if_flushed(&tail, *next)?;
                }
                break;
            }
        }
        for base in bases.drain(kept..).rev() {
            self.remove_segment_files(base)?;
            recovery.removed_segments += 1;
        }
        if recovery.removed_segments > 0 {
            sync_dir(&self.dir)?;
        }
        for segment in &mut self.segments[from..kept - 1] {
            let files = SegmentFiles {
                cache: self.log_dir.files(),
                dir: &self.dir,
                base: segment.base.0,
            };
            self.dirty.add_finished(&segment.finish(files)?);
        }
        self.log_end = tail.expected;
        self.durability = Durability::recovered(tail.expected, false);
        self.epochs
            .truncate_from_end(bases.get(from).copied().unwrap_or_default());
        for entry in tail.epochs {
            self.epochs.assign(entry.epoch, entry.start);
        }
        self.distrust()
    }

    /// What the last process left may be in memory only, the directory and its metadata included: all of it has to be
    /// flushed before anything counts as flushed.
    fn distrust(&mut self) -> Result<(), LogError> {
        let path = self.dir.join(partition_dir::METADATA_FILE);
        let metadata = std::fs::File::open(&path).map_err(|e| LogError::io("open", &path, e))?;
        self.dirty.add(&Arc::new(metadata), true);
        self.dirty.epochs = true;
        self.dirty.dir = true;
        self.dirty.end = true;
        self.dirty.created = Some(self.log_dir.note_creation());
        Ok(())
    }

    /// Reads a segment batch by batch and cuts it at the first one that is not whole. True if nothing was cut.
    fn scan_segment(
        &mut self,
        base: Offset,
        tail: &mut Tail,
        recovery: &mut Recovery,
        now: TimestampMs,
    ) -> Result<bool, LogError> {
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: base.0,
        };
        let path = files.path(LOG_SUFFIX);
        let mut segment = Segment::empty(base, now);
        let file = segment.file(files)?;
        let size = file.metadata().map_err(|e| LogError::io("open", &path, e))?.len();
        let mut scan = Scan::headers(&file, 0, size);
        let mut above_flushed = false;
        let stopped_by = loop {
            if !above_flushed && tail.expected >= tail.flushed {
                above_flushed = true;
                scan = Scan::bodies(&file, scan.position(), size);
            }
            let found = scan.peek().map_err(|e| LogError::io("read", &path, e))?;
            let Found::Batch(header) = found else { break found };
            if let Some(reason) = self.misplaced(&header, tail) {
                break Found::Bad(reason);
            }
            if above_flushed && !scan.crc_matches(&header).map_err(|e| LogError::io("read", &path, e))? {
                break Found::Bad("the checksum does not match".to_owned());
            }
            if header.leader_epoch > tail.epoch {
                tail.epochs.push(EpochStart {
                    epoch: header.leader_epoch,
                    start: header.base_offset,
                });
            }
            (tail.expected, tail.epoch) = (header.next_offset(), header.leader_epoch);
            segment.note(&header, self.config.index_interval_bytes);
            segment.spill_if_due(files)?;
            scan.advance(&header);
        };
        // Below the flush point a file may end early (that is lost data, reported as short), but not be damaged.
        let torn = match &stopped_by {
            Found::Torn(header) => header.is_none_or(|header| self.misplaced(&header, tail).is_none()),
            found => matches!(found, Found::End),
        };
        if tail.expected < tail.flushed && !torn {
            return Err(corrupt(files, scan.position(), stopped_by));
        }
        // What was filled ahead is no damage.
        let filled = scan.only_filler_left().map_err(|e| LogError::io("read", &path, e))?;
        recovery.scanned_bytes += size;
        recovery.rebuilt_indexes += 1;
        recovery.cut_bytes += if filled { 0 } else { size - scan.position() };
        if scan.position() < size {
            file.set_len(scan.position())
                .map_err(|e| LogError::io("truncate", &path, e))?;
        }
        if !filled {
            // As with a truncation: no half of the cut may be undone after the next append.
            file.sync_all().map_err(|e| LogError::io("flush", &path, e))?;
        }
        self.dirty.add(&file, true);
        self.segments.push(segment);
        Ok(filled)
    }

    /// Why a whole batch cannot be the next one.
    fn misplaced(&self, header: &BatchHeader, tail: &Tail) -> Option<String> {
        if !self.follows(tail.expected, header.base_offset) {
            return Some(format!(
                "the batch starts at offset {} instead of {}",
                header.base_offset, tail.expected
            ));
        }
        if header.leader_epoch < tail.epoch || header.leader_epoch.0 < 0 {
            return Some(format!(
                "the leader epoch falls from {} to {}",
                tail.epoch, header.leader_epoch
            ));
        }
        None
    }

    /// Compaction leaves gaps; nothing else does.
    fn follows(&self, expected: Offset, found: Offset) -> bool {
        if self.config.compact {
            found >= expected
        } else {
            found == expected
        }
    }

    fn check_follows(&self, tail: &Tail, next: Offset, files: SegmentFiles<'_>, end: u64) -> Result<(), LogError> {
        if self.follows(tail.expected, next) {
            return Ok(());
        }
        let reason = format!(
            "the segment ends at offset {} but the next one starts at {next}",
            tail.expected
        );
        Err(corrupt(files, end, Found::Bad(reason)))
    }

    /// A hole before a segment is an error only if the flush point vouches for that segment.
    fn check_follows_if_flushed(&self, tail: &Tail, next: Offset) -> Result<(), LogError> {
        if next > tail.flushed || tail.expected >= tail.flushed {
            return Ok(());
        }
        let files = SegmentFiles {
            cache: self.log_dir.files(),
            dir: &self.dir,
            base: next.0,
        };
        self.check_follows(tail, next, files, 0)
    }
}
