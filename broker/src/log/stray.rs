//! Directories that were moved aside, because the cluster did not know them or because they were damaged: kept for a
//! while, in case somebody wants them back.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use highwater_proto::types::TimestampMs;

use crate::log::error::LogError;
use crate::log::log_dir::{LogDir, list};
use crate::log::partition_dir::STRAY_SUFFIX;

impl LogDir {
    /// Removes directories that were moved aside more than `retention` ago (`stray.retention.ms`); how many. The time is
    /// that of the file system: when the directory was last changed, which renaming it does. Slow.
    ///
    /// # Errors
    /// [`LogError::Io`]
    pub fn remove_old_strays(&self, retention: Duration, now: TimestampMs) -> Result<usize, LogError> {
        let mut removed = 0;
        for name in list(self.root())?.iter().filter(|name| name.ends_with(STRAY_SUFFIX)) {
            let path = self.root().join(name);
            let metadata = std::fs::symlink_metadata(&path).map_err(|e| LogError::io("look at", &path, e))?;
            let age_ms = now.get().saturating_sub(metadata.ctime().saturating_mul(1_000));
            let is_old = u64::try_from(age_ms).is_ok_and(|age| Duration::from_millis(age) > retention);
            if metadata.is_dir() && is_old {
                std::fs::remove_dir_all(&path).map_err(|e| LogError::io("remove", &path, e))?;
                tracing::info!(directory = name, "removed what had been moved aside");
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_been_aside_for_long_goes() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LogDir::open(temp.path(), 10).unwrap();
        let (stray, other) = (format!("t-0.abc{STRAY_SUFFIX}"), "t-1");
        for name in [&*stray, other] {
            std::fs::create_dir(temp.path().join(name)).unwrap();
        }
        let changed = std::fs::metadata(temp.path().join(&stray)).unwrap().ctime() * 1_000;
        let week = Duration::from_secs(7 * 24 * 3600);
        let at = |after: Duration| TimestampMs(changed + after.as_millis() as i64);
        assert_eq!(dir.remove_old_strays(week, at(week)).unwrap(), 0);
        assert_eq!(
            dir.remove_old_strays(week, at(week + Duration::from_secs(1))).unwrap(),
            1
        );
        assert!(!temp.path().join(&stray).exists() && temp.path().join(other).exists());
    }
}
