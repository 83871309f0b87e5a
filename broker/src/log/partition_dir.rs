//! The directory of one partition: its name, `partition.metadata`, and what it is called when it is deleted.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use highwater_proto::types::{PartitionIndex, TopicId};
use uuid::Uuid;

use crate::log::error::LogError;

/// Name of the file that holds the topic id.
pub(super) const METADATA_FILE: &str = "partition.metadata";
/// End of the name of a deleted partition's directory.
pub(super) const DELETE_SUFFIX: &str = "-delete";
/// End of the name of a directory that was moved aside.
pub(super) const STRAY_SUFFIX: &str = "-stray";
/// Longest name of a file.
const NAME_MAX: usize = 255;

/// A partition's directory as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDir {
    /// The directory's name: `<topic>-<partition>`.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The topic's id; None if `partition.metadata` never reached the disk, and so no record did either.
    pub topic_id: Option<TopicId>,
}

impl PartitionDir {
    /// Reads what the directory says of itself; None if its name is not a partition's.
    ///
    /// # Errors
    /// [`LogError::Io`] if the process has no more files to open. Whatever else is wrong is for whoever opens the log.
    pub(super) fn read(root: &Path, name: &str) -> Result<Option<Self>, LogError> {
        let Some((topic, partition)) = name.rsplit_once('-') else {
            return Ok(None);
        };
        let Some(partition) = partition.parse::<i32>().ok().filter(|it| *it >= 0 && !topic.is_empty()) else {
            return Ok(None);
        };
        let topic_id = match read_topic_id(&root.join(name)) {
            Err(error) if error.is_out_of_files() => return Err(error),
            read => read.unwrap_or_default(),
        };
        Ok(Some(Self {
            name: name.to_owned(),
            topic: topic.to_owned(),
            partition: PartitionIndex(partition),
            topic_id,
        }))
    }
}

/// Name of a partition's directory.
pub(super) fn name(topic: &str, partition: PartitionIndex) -> String {
    format!("{topic}-{partition}")
}

/// A name for the directory `name` that nothing else has, ending in `suffix`; cut to what a file system takes.
pub(super) fn renamed(name: &str, suffix: &str) -> String {
    let (topic, partition) = name.rsplit_once('-').unwrap_or((name, "0"));
    let tail = format!("-{partition}.{}{suffix}", Uuid::new_v4().simple());
    let mut room = NAME_MAX.saturating_sub(tail.len()).min(topic.len());
    while !topic.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{tail}", &topic[..room])
}

/// Content of `partition.metadata`.
pub(super) fn metadata(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// The topic id of a partition's directory, if it has a whole `partition.metadata`.
///
/// # Errors
/// [`LogError::Io`] if it cannot be read: that says nothing about what is in it.
pub(super) fn read_topic_id(dir: &Path) -> Result<Option<TopicId>, LogError> {
    use std::io::ErrorKind;
    let path = dir.join(METADATA_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(topic_id(&text)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
        Err(e) => Err(LogError::io("read", path, e)),
    }
}

fn topic_id(metadata: &str) -> Option<TopicId> {
    let mut lines = metadata.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    parse_topic_id(lines.next()?.strip_prefix("topic_id: ")?)
}

/// Reads a topic id as Kafka writes it.
pub(super) fn parse_topic_id(text: &str) -> Option<TopicId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(TopicId(Uuid::from_slice(&bytes).ok()?))
}

/// The directory of a deleted partition, out of the way of a new one of the same name.
#[derive(Debug)]
#[must_use = "the directory stays until it is removed"]
pub struct DeletedDir {
    path: PathBuf,
}

impl DeletedDir {
    /// A directory to remove.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all files: after `file.delete.delay.ms`, or at once at start. Slow.
    ///
    /// # Errors
    /// [`LogError::Io`]; the next start tries again.
    pub fn remove(self) -> Result<(), LogError> {
        match std::fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LogError::io("remove", &self.path, e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_as_it_is_written_and_a_torn_one_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let id = TopicId(Uuid::from_u128(0x0123_4567_89ab_cdef));
        let dir = temp.path().join("a-b.c-7");
        std::fs::create_dir(&dir).unwrap();
        let text = metadata(id);
        for cut in 0..text.len() {
            std::fs::write(dir.join(METADATA_FILE), &text[..cut]).unwrap();
            assert_eq!(read_topic_id(&dir).unwrap(), None, "cut at {cut}");
        }
        std::fs::write(dir.join(METADATA_FILE), &text).unwrap();
        let read = PartitionDir::read(temp.path(), "a-b.c-7").unwrap().unwrap();
        assert_eq!(
            (read.topic.as_str(), read.partition, read.topic_id),
            ("a-b.c", PartitionIndex(7), Some(id))
        );
        assert_eq!(PartitionDir::read(temp.path(), "config").unwrap(), None);
    }

    #[test]
    fn names_of_deleted_partitions_fit_a_file_name() {
        let name = name(&"t".repeat(249), PartitionIndex(12345));
        let renamed = renamed(&name, DELETE_SUFFIX);
        assert_eq!(renamed.len(), 255);
        assert!(renamed.starts_with("ttt") && renamed.ends_with("-delete") && renamed.contains("-12345."));
    }
}
