//! Open files, bounded: a cache of handles that closes what has not been used for the longest time.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::log::error::{LogError, is_out_of_files};

/// Files that are closed at a time when the process has no more handles.
const MOST_GIVEN_UP: usize = 64;

/// Handles of one data directory. A file that is in use (sent, flushed) stays open beyond the bound until it is
/// released; everything else is closed by the clock algorithm and opened again on demand.
#[derive(Debug)]
pub(super) struct FileCache {
    limit: usize,
    ring: Mutex<VecDeque<Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    file: Mutex<Option<Arc<File>>>,
    used: AtomicBool,
}

/// A file that is open or can be opened again.
#[derive(Debug, Default)]
pub(super) struct CachedFile {
    slot: Arc<Slot>,
}

impl FileCache {
    /// A cache that keeps at most `limit` files open.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(16),
            ring: Mutex::new(VecDeque::new()),
        }
    }

    fn admit(&self, slot: &Arc<Slot>) {
        let mut ring = self.ring.lock();
        ring.push_back(Arc::clone(slot));
        // Every slot gets one second chance; after two rounds something has been closed.
        let mut chances = ring.len() * 2;
        while ring.len() > self.limit && chances > 0 {
            chances -= 1;
            let Some(oldest) = ring.pop_front() else { return };
            if Arc::ptr_eq(&oldest, slot) || (oldest.used.swap(false, Ordering::Relaxed) && oldest.is_open()) {
                ring.push_back(oldest);
            } else {
                oldest.file.lock().take();
            }
        }
    }

    /// Opens a file. When there are no more handles, files that nobody uses just now give up theirs.
    fn open(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        match open() {
            Err(error) if is_out_of_files(&error) && self.give_up_some() => open(),
            opened => opened,
        }
    }

    /// Closes some of the files that were opened longest ago and are not in use. True if there were any.
    pub(super) fn give_up_some(&self) -> bool {
        let mut ring = self.ring.lock();
        let before = ring.len();
        let mut left = MOST_GIVEN_UP;
        ring.retain(|slot| {
            let mut file = slot.file.lock();
            let idle = file.as_ref().is_none_or(|file| Arc::strong_count(file) == 1);
            if !idle || left == 0 {
                return true;
            }
            left -= usize::from(file.take().is_some());
            false
        });
        ring.len() < before && left < MOST_GIVEN_UP
    }

    /// Number of files that the cache holds open.
    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        self.ring.lock().iter().filter(|slot| slot.is_open()).count()
    }
}

impl Slot {
    fn is_open(&self) -> bool {
        self.file.lock().is_some()
    }
}

impl CachedFile {
    /// The open file; opens what `path` names if it is closed.
    pub(super) fn get(&self, cache: &FileCache, path: impl FnOnce() -> PathBuf) -> Result<Arc<File>, LogError> {
        if let Some(file) = &*self.slot.file.lock() {
            self.slot.used.store(true, Ordering::Relaxed);
            return Ok(Arc::clone(file));
        }
        let path = path();
        let file = cache.open(|| File::options().read(true).write(true).open(&path));
        self.put(cache, file.map_err(|e| LogError::io("open", path, e))?)
    }

    /// Creates the file, empty, whatever was there.
    pub(super) fn create(&self, cache: &FileCache, path: &Path) -> Result<Arc<File>, LogError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = cache.open(|| options.open(path));
        self.put(cache, file.map_err(|e| LogError::io("create", path, e))?)
    }

    fn put(&self, cache: &FileCache, file: File) -> Result<Arc<File>, LogError> {
        let file = Arc::new(file);
        let opened_before = self.slot.file.lock().replace(Arc::clone(&file)).is_some();
        self.slot.used.store(true, Ordering::Relaxed);
        if !opened_before {
            cache.admit(&self.slot);
        }
        Ok(file)
    }

    /// Forgets the handle.
    pub(super) fn close(&self) {
        self.slot.file.lock().take();
    }
}

impl Drop for CachedFile {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads until `buf` is full or the file ends; returns the bytes read.
pub(super) fn read_at(file: &File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], position + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `buf`.
pub(super) fn write_at(file: &File, buf: &[u8], position: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    file.write_all_at(buf, position)
}

/// Replaces a small file as a whole: written aside, flushed, renamed. The rename is durable once the directory has
/// been flushed, which is up to the caller ([`sync_dir`]).
pub(super) fn replace_file(path: &Path, content: &[u8]) -> Result<(), LogError> {
    use std::io::Write as _;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    let mut file = File::create(&aside).map_err(|e| LogError::io("create", &aside, e))?;
    file.write_all(content).map_err(|e| LogError::io("write", &aside, e))?;
    file.sync_all().map_err(|e| LogError::io("flush", &aside, e))?;
    std::fs::rename(&aside, path).map_err(|e| LogError::io("rename", &aside, e))
}

/// Makes creations, renames and removals in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), LogError> {
    let dir = File::open(path).map_err(|e| LogError::io("open", path, e))?;
    dir.sync_all().map_err(|e| LogError::io("flush", path, e))
}

/// Renames a file that may be missing.
pub(super) fn rename_file(from: &Path, to: &Path) -> Result<(), LogError> {
    match std::fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LogError::io("rename", from, e)),
        _ => Ok(()),
    }
}

/// Removes a file that may be missing already.
pub(super) fn remove_file(path: &Path) -> Result<(), LogError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
impl CachedFile {
    pub(super) fn replace(&self, file: File) {
        *self.slot.file.lock() = Some(Arc::new(file));
    }
}
