//! What is done with the logs of a broker that was unregistered, should its disk be used again, and how many there are.

use std::path::Path;

use crate::log::error::LogError;
use crate::log::files::sync_dir;
use crate::log::log_dir::{LogDir, list};
use crate::log::partition_dir::{DELETE_SUFFIX, PartitionDir, STRAY_SUFFIX};

/// Directories of partitions, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionDirectories {
    /// Of partitions that have a replica here.
    pub partitions: usize,
    /// Of deleted ones, about to be removed.
    pub deleted: usize,
    /// Moved aside.
    pub strays: usize,
}

impl PartitionDirectories {
    /// Counts what is on the disk, whatever is known of it. Slow.
    ///
    /// # Errors
    /// [`LogError::Io`] if it cannot be listed.
    pub fn count(root: &Path) -> Result<Self, LogError> {
        let mut counts = Self::default();
        for name in list(root)? {
            if !root.join(&name).is_dir() {
                continue;
            }
            if name.ends_with(DELETE_SUFFIX) {
                counts.deleted += 1;
            } else if name.ends_with(STRAY_SUFFIX) {
                counts.strays += 1;
            } else if PartitionDir::read(root, &name)?.is_some() {
                counts.partitions += 1;
            }
        }
        Ok(counts)
    }
}

impl LogDir {
    /// Moves all partitions aside, and forgets everything that was recorded about them: what is opened here from now on
    /// is a new broker's. They are kept for `stray.retention.ms`. How many there were. To be called before logs are
    /// opened; a call that was cut off is repeated. Slow.
    ///
    /// # Errors
    /// [`LogError::Io`]
    pub fn retire(&self) -> Result<usize, LogError> {
        let inventory = self.inventory()?;
        for partition in &inventory.partitions {
            self.move_aside(&partition.name)?;
        }
        for (name, _) in &inventory.missing {
            self.forget(name);
        }
        self.forget_all();
        self.distrust.all_is_flushed();
        self.distrust_is_known();
        self.write_flush_points()?;
        sync_dir(self.root())?;
        Ok(inventory.partitions.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_aside_and_nothing_is_remembered() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["t-0", "t-1", "u-0.abc-stray", "v-0.def-delete", "other"] {
            std::fs::create_dir(temp.path().join(name)).unwrap();
        }
        std::fs::write(temp.path().join("t-0/00000000000000000000.log"), b"records").unwrap();
        let id = highwater_proto::types::TopicId(uuid::Uuid::from_u128(7));
        // One that is there, and one whose directory is gone.
        let points = format!("0\n2\nt 0 {id} 10 0\nw 0 {id} 5 0\n");
        std::fs::write(temp.path().join("flush-point"), points).unwrap();
        std::fs::write(temp.path().join("log-start-offset-checkpoint"), "0\n1\nx 3 4\n").unwrap();
        let count = |partitions, deleted, strays| PartitionDirectories {
            partitions,
            deleted,
            strays,
        };
        assert_eq!(PartitionDirectories::count(temp.path()).unwrap(), count(2, 1, 1));
        let dir = LogDir::open(temp.path(), 10).unwrap();
        assert_eq!(dir.inventory().unwrap().missing.len(), 1);
        assert_eq!(dir.retire().unwrap(), 2);
        drop(dir);
        assert_eq!(PartitionDirectories::count(temp.path()).unwrap(), count(0, 1, 3));
        let names = list(temp.path()).unwrap();
        let aside = names.iter().find(|name| name.starts_with("t-0.")).unwrap();
        let records = std::fs::read(temp.path().join(aside).join("00000000000000000000.log")).unwrap();
        assert_eq!(records, b"records");
        let again = LogDir::open(temp.path(), 10).unwrap();
        let inventory = again.inventory().unwrap();
        assert!(inventory.partitions.is_empty() && inventory.missing.is_empty());
        assert!(again.recorded("x-3").is_none());
        assert_eq!(again.retire().unwrap(), 0, "a second time there is nothing to do");
    }
}
