//! What can go wrong in a log, typed by what the caller has to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_proto::types::{LeaderEpoch, Offset, TopicId};
use thiserror::Error;

use crate::log::producer_state::SequenceError;

/// An operation on a log failed. Unless a variant says otherwise the log is as it was before the call.
#[derive(Debug, Error)]
pub enum LogError {
    /// The operating system refused: full disk, read-only disk, bad permissions, or a disk that is failing.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The process may not have as many files open as its logs need to be recovered.
    #[error("{limit} open files are too few to recover the logs: raise the limit (ulimit -n, LimitNOFILE). {source}")]
    TooFewFiles {
        /// What it may have.
        limit: usize,
        /// What could not be opened.
        source: Box<LogError>,
    },
    /// A flush failed on this disk some time ago. Nothing on it can be trusted or acknowledged any more.
    #[error("the disk {} failed: {reason}", root.display())]
    DiskFailed {
        /// The data directory.
        root: PathBuf,
        /// The first failure.
        reason: Arc<str>,
    },
    /// Bytes that had been flushed are not what they were: the replica has to be repaired from its leader.
    #[error("{partition} is corrupt at position {position} of {file}: {reason}")]
    Corrupt {
        /// `<topic>-<partition>`.
        partition: String,
        /// Name of the segment's file.
        file: String,
        /// Byte position in it.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A file of the data directory is not in its format.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The offset is not in the log (Kafka's OFFSET_OUT_OF_RANGE).
    #[error("offset {offset} is not in the log, which holds {log_start} to {log_end}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// First offset of the log.
        log_start: Offset,
        /// End of the log.
        log_end: Offset,
    },
    /// The batches do not fit into one segment (Kafka's RECORD_LIST_TOO_LARGE).
    #[error("{size} bytes of batches are more than segment.bytes={limit}")]
    BatchesTooLarge {
        /// Bytes of all batches of the append.
        size: u64,
        /// `segment.bytes` of the topic.
        limit: u64,
    },
    /// The producer's sequence or epoch does not allow the batch.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A batch of the leader does not start where this log ends.
    #[error("the batch starts at offset {found} but the log ends at {expected}")]
    NotContiguous {
        /// Log end offset.
        expected: Offset,
        /// Base offset of the batch.
        found: Offset,
    },
    /// A batch carries a lower leader epoch than the one before it, or none.
    #[error("the batch at offset {offset} has leader epoch {found}, below {latest}")]
    EpochFell {
        /// Base offset of the batch.
        offset: Offset,
        /// Epoch of the last batch in the log.
        latest: LeaderEpoch,
        /// Epoch of the refused batch.
        found: LeaderEpoch,
    },
    /// The directory holds another topic of the same name: move it aside.
    #[error("{} belongs to topic id {found}, not {expected}", path.display())]
    ForeignTopicId {
        /// The partition's directory.
        path: PathBuf,
        /// The topic id in `partition.metadata`.
        found: TopicId,
        /// The topic id of the metadata image.
        expected: TopicId,
    },
    /// Another process uses the data directory.
    #[error("{} is used by another process", root.display())]
    Locked {
        /// The data directory.
        root: PathBuf,
    },
    /// The records of a batch could not be read while looking for a timestamp.
    #[error("the records of the batch at offset {offset} cannot be read: {reason}")]
    Records {
        /// Base offset of the batch.
        offset: Offset,
        /// What the reader said.
        reason: String,
    },
    /// The batches of a segment could not be read while looking for a timestamp.
    #[error("no batch can be read at position {position} of a segment: {reason}")]
    Unreadable {
        /// Byte position in the segment's file.
        position: u64,
        /// What is there instead.
        reason: String,
    },
}

impl LogError {
    /// Wraps an answer of the operating system with what was tried.
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source: source.into(),
        }
    }

    /// True if the disk has no room: the only IO error that heals by itself.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// True if this process, or the system, has no more files to open: that is no fault of the disk, and passes.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_out_of_files(source))
    }
}

/// See [`LogError::is_out_of_files`].
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
