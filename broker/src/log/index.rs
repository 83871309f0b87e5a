//! Sparse indexes of a segment in Kafka's format: fixed-size entries, ascending, searched on disk.
//!
//! Nothing is mapped or preloaded: a closed segment costs a few words of memory. The newest entries of the active
//! segment wait in memory and are written in groups, because a crash rebuilds the index from the segment anyway.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::log::error::LogError;
use crate::log::files::{CachedFile, FileCache, read_at, write_at};

/// An entry of one of the indexes.
pub(super) trait IndexEntry: Copy {
    /// Bytes on disk.
    const SIZE: usize;
    /// Suffix of the file's name.
    const SUFFIX: &'static str;
    /// Writes the entry into exactly [`Self::SIZE`] bytes.
    fn encode(self, bytes: &mut Vec<u8>);
    /// Reads it back from at least that many.
    fn decode(bytes: &[u8]) -> Self;
}

/// Entry of `.index`: where the batch with this last offset starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    /// Last offset of the batch, relative to the segment's base offset.
    pub relative_offset: i32,
    /// Byte position of the batch.
    pub position: i32,
}

impl IndexEntry for OffsetEntry {
    const SIZE: usize = 8;
    const SUFFIX: &'static str = "index";

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.relative_offset.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            relative_offset: be_i32(bytes, 0),
            position: be_i32(bytes, 4),
        }
    }
}

/// Entry of `.timeindex`: the largest timestamp so far and the last offset of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    /// Largest timestamp in the segment up to and including that batch, milliseconds.
    pub timestamp: i64,
    /// Last offset of the batch, relative to the segment's base offset.
    pub relative_offset: i32,
}

impl IndexEntry for TimeEntry {
    const SIZE: usize = 12;
    const SUFFIX: &'static str = "timeindex";

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let high = i64::from(be_i32(bytes, 0)) << 32;
        Self {
            timestamp: high | i64::from(be_i32(bytes, 4) as u32),
            relative_offset: be_i32(bytes, 8),
        }
    }
}

fn be_i32(bytes: &[u8], at: usize) -> i32 {
    let field = bytes.get(at..at + 4).and_then(|b| b.first_chunk::<4>());
    field.map_or(0, |b| i32::from_be_bytes(*b))
}

/// Entries that wait in memory before they are written.
const TAIL_ENTRIES: usize = 64;
/// Entries that a search reads in one go instead of probing further.
const CHUNK_ENTRIES: usize = 128;

/// The index file of one segment: what is on disk, and the tail that is not.
#[derive(Debug)]
pub(super) struct Index<E> {
    file: CachedFile,
    on_disk: u32,
    tail: Vec<E>,
    entry: PhantomData<E>,
}

/// Where a segment's files are, and the handles they share.
#[derive(Clone, Copy)]
pub(super) struct SegmentFiles<'a> {
    /// Open files of the disk.
    pub cache: &'a FileCache,
    /// The partition's directory.
    pub dir: &'a Path,
    /// Base offset, which names the files.
    pub base: i64,
}

impl SegmentFiles<'_> {
    /// Path of the segment's file of this kind.
    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{:020}.{suffix}", self.base))
    }
}

impl<E: IndexEntry> Index<E> {
    /// An index without entries and without a file.
    pub(super) fn empty() -> Self {
        Self {
            file: CachedFile::default(),
            on_disk: 0,
            tail: Vec::new(),
            entry: PhantomData,
        }
    }

    /// The index as it is on disk; None if the file is missing or no whole number of entries.
    pub(super) fn load(files: SegmentFiles<'_>) -> Option<Self> {
        let size = std::fs::metadata(files.path(E::SUFFIX)).ok()?.len();
        let whole = size.is_multiple_of(E::SIZE as u64);
        whole.then(|| Self {
            on_disk: (size / E::SIZE as u64) as u32,
            ..Self::empty()
        })
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.on_disk as usize + self.tail.len()
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        (self.len() * E::SIZE) as u64
    }

    /// Adds an entry behind all others. It is in memory until [`Self::spill`].
    pub(super) fn push(&mut self, entry: E) {
        self.tail.push(entry);
    }

    /// True if enough entries wait for a write to be worth it.
    pub(super) fn wants_spill(&self) -> bool {
        self.tail.len() >= TAIL_ENTRIES
    }

    /// Writes what waits in memory; creates the file if there is none yet.
    pub(super) fn spill(&mut self, files: SegmentFiles<'_>) -> Result<(), LogError> {
        let path = || files.path(E::SUFFIX);
        let file = if self.on_disk == 0 {
            self.file.create(files.cache, &path())?
        } else if self.tail.is_empty() {
            return Ok(());
        } else {
            self.file.get(files.cache, path)?
        };
        let mut bytes = Vec::with_capacity(self.tail.len() * E::SIZE);
        for entry in &self.tail {
            entry.encode(&mut bytes);
        }
        let end = u64::from(self.on_disk) * E::SIZE as u64;
        write_at(&file, &bytes, end).map_err(|e| LogError::io("write", path(), e))?;
        self.on_disk += self.tail.len() as u32;
        self.tail.clear();
        Ok(())
    }

    /// Gives up the memory of the tail, for a segment that gets no more entries.
    pub(super) fn shrink(&mut self) {
        self.tail.shrink_to_fit();
    }

    /// The open file, for flushing it. Creates it if there is none.
    pub(super) fn open(&mut self, files: SegmentFiles<'_>) -> Result<std::sync::Arc<std::fs::File>, LogError> {
        self.spill(files)?;
        self.file.get(files.cache, || files.path(E::SUFFIX))
    }

    /// The entry at this place in the order, from 0.
    pub(super) fn get(&self, files: SegmentFiles<'_>, at: usize) -> Result<Option<E>, LogError> {
        if at >= self.on_disk as usize {
            return Ok(self.tail.get(at - self.on_disk as usize).copied());
        }
        Ok(self.read(files, at, 1)?.first().copied())
    }

    /// The last entry.
    pub(super) fn last(&self, files: SegmentFiles<'_>) -> Result<Option<E>, LogError> {
        if self.len() == 0 {
            Ok(None)
        } else {
            self.get(files, self.len() - 1)
        }
    }

    /// The last entry for which `before` holds; it must hold for a prefix of the entries.
    pub(super) fn last_where(
        &self,
        files: SegmentFiles<'_>,
        before: impl Fn(&E) -> bool,
    ) -> Result<Option<E>, LogError> {
        if self.tail.first().is_some_and(&before) {
            let count = self.tail.partition_point(&before);
            return Ok(self.tail.get(count - 1).copied());
        }
        let (mut low, mut high) = (0, self.on_disk as usize);
        while high - low > CHUNK_ENTRIES {
            let middle = low.midpoint(high);
            match self.read(files, middle, 1)?.first() {
                Some(entry) if before(entry) => low = middle,
                _ => high = middle,
            }
        }
        let chunk = self.read(files, low, high - low)?;
        Ok(chunk[..chunk.partition_point(before)].last().copied())
    }

    /// Drops all entries from the first one for which `keep` does not hold. The file is cut, not flushed.
    pub(super) fn truncate(&mut self, files: SegmentFiles<'_>, keep: impl Fn(&E) -> bool) -> Result<(), LogError> {
        let in_tail = self.tail.partition_point(&keep);
        self.tail.truncate(in_tail);
        if in_tail > 0 || self.on_disk == 0 {
            return Ok(());
        }
        let kept = self.read(files, 0, self.on_disk as usize)?.partition_point(keep);
        let file = self.file.get(files.cache, || files.path(E::SUFFIX))?;
        let cut = file.set_len((kept * E::SIZE) as u64);
        cut.map_err(|e| LogError::io("truncate", files.path(E::SUFFIX), e))?;
        self.on_disk = kept as u32;
        Ok(())
    }

    fn read(&self, files: SegmentFiles<'_>, at: usize, count: usize) -> Result<Vec<E>, LogError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let path = || files.path(E::SUFFIX);
        let file = self.file.get(files.cache, path)?;
        let mut bytes = vec![0; count * E::SIZE];
        let read = read_at(&file, &mut bytes, (at * E::SIZE) as u64).map_err(|e| LogError::io("read", path(), e))?;
        bytes.truncate(read - read % E::SIZE);
        Ok(bytes.chunks_exact(E::SIZE).map(E::decode).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_same_entry_in_memory_on_disk_and_across_both() {
        let temp = tempfile::tempdir().unwrap();
        let cache = FileCache::new(16);
        let files = SegmentFiles {
            cache: &cache,
            dir: temp.path(),
            base: 5,
        };
        let mut index = Index::<OffsetEntry>::empty();
        for i in 0..1000 {
            index.push(OffsetEntry {
                relative_offset: i * 10,
                position: i * 100,
            });
            if i % 333 == 0 {
                index.spill(files).unwrap();
            }
            for target in [-1, 0, i * 5, i * 10 - 1, i * 10, i * 10 + 1] {
                let expected = (0..=i).rev().find(|j| j * 10 <= target).map(|j| j * 100);
                let found = index.last_where(files, |e| e.relative_offset <= target).unwrap();
                assert_eq!(found.map(|e| e.position), expected);
            }
        }
        assert_eq!(std::fs::metadata(files.path("index")).unwrap().len(), 1000 * 8);
        index.truncate(files, |e| e.position < 500).unwrap();
        assert_eq!(index.last(files).unwrap().map(|e| e.position), Some(400));
        assert_eq!(Index::<OffsetEntry>::load(files).unwrap().len(), 5);
        std::fs::write(files.path("index"), [0; 9]).unwrap();
        assert!(Index::<OffsetEntry>::load(files).is_none());
    }
}
