//! File handles: how many this process may have, and what they are kept for. Clients must not be able to take those that
//! the storage needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With so many files of logs open, more are not worth their memory.
const MOST_LOG_FILES: usize = 10_000;
/// Kept for everything else: at least this many.
const LEAST_RESERVE: usize = 64;
/// Without a limit: as many as anybody will ever use.
const NO_LIMIT: usize = 1 << 30;

/// How the handles of a broker are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Handles that the process may have.
    pub limit: usize,
    /// For files of logs that are kept open.
    pub log_files: usize,
    /// For connections of clients. What is left are files in use beyond those that are kept, checkpoints, and the
    /// connections between processes.
    pub connections: usize,
}

impl OpenFiles {
    /// Shares out what the limit of this process allows.
    #[must_use]
    pub fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::new(limit.map_or(NO_LIMIT, |limit| usize::try_from(limit).unwrap_or(NO_LIMIT)))
    }

    fn new(limit: usize) -> Self {
        let log_files = (limit / 8 * 3).min(MOST_LOG_FILES);
        let reserve = (limit / 16).max(LEAST_RESERVE);
        Self {
            limit,
            log_files,
            connections: limit.saturating_sub(log_files + reserve).max(1),
        }
    }
}

/// Raises the limit of open files as far as the process may. Many systems start processes with 1,024, for the sake of
/// programs that use `select`, and leave it to those that need more to ask for it.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(limit = limit.current, wanted = limit.maximum, %error, "cannot raise the limit of open files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storage_has_its_share_whatever_the_limit() {
        for limit in [200, 256, 1_024, 20_000, 1 << 20, NO_LIMIT] {
            let shares = OpenFiles::new(limit);
            assert!(
                shares.log_files + shares.connections + LEAST_RESERVE <= limit,
                "{shares:?}"
            );
            assert!(
                shares.log_files >= limit / 4 || shares.log_files == MOST_LOG_FILES,
                "{shares:?}"
            );
        }
        let usual = OpenFiles::new(20_000);
        assert_eq!((usual.log_files, usual.connections), (7_500, 11_250));
    }
}
