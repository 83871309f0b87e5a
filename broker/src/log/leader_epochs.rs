//! Where each leader epoch starts (KIP-101): Kafka's `leader-epoch-checkpoint`.

use std::path::Path;

use highwater_proto::types::{LeaderEpoch, Offset};

use crate::log::checkpoint;
use crate::log::error::LogError;

/// Name of the file in the partition's directory.
pub(super) const FILE_NAME: &str = "leader-epoch-checkpoint";

/// First offset of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The log end offset when its leader started.
    pub start: Offset,
}

/// The epochs of a log, ascending in epoch and start offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// Reads the checkpoint of a partition. Entries that do not ascend make the file malformed.
    pub(super) fn load(dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(FILE_NAME);
        let entries = checkpoint::read(&path, |line| {
            let (epoch, start) = line.split_once(' ')?;
            Some(EpochStart {
                epoch: LeaderEpoch(epoch.parse().ok()?),
                start: Offset(start.parse().ok()?),
            })
        })?;
        let ascending = entries
            .windows(2)
            .all(|w| w[0].epoch < w[1].epoch && w[0].start < w[1].start);
        if ascending {
            Ok(Self { entries })
        } else {
            Err(LogError::Malformed {
                path,
                reason: "epochs do not ascend".to_owned(),
            })
        }
    }

    /// The content of the checkpoint file.
    pub(super) fn to_checkpoint(&self) -> String {
        checkpoint::format(
            self.entries
                .iter()
                .map(|entry| format!("{} {}", entry.epoch, entry.start)),
        )
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The newest epoch with its start.
    #[must_use]
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// The oldest epoch with its start.
    #[must_use]
    pub fn earliest(&self) -> Option<EpochStart> {
        self.entries.first().copied()
    }

    /// Records that `epoch` starts at `start`. Entries of this or a higher epoch and entries that start there or later
    /// never became part of the log and go. True if anything changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0
            || self
                .latest()
                .is_some_and(|latest| latest.epoch == epoch && latest.start <= start)
        {
            return false;
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start < start);
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// The log ends at `end` now: drops the epochs that start there or later. True if anything changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start < end);
        self.entries.len() != before
    }

    /// The log starts at `start` now: drops epochs that lie wholly below and moves the first one up. True if anything
    /// changed.
    pub(super) fn truncate_from_start(&mut self, start: Offset) -> bool {
        let below = self.entries.partition_point(|entry| entry.start <= start);
        if below == 0 || self.entries[below - 1].start == start && below == 1 {
            return false;
        }
        self.entries.drain(..below - 1);
        self.entries[0].start = start;
        true
    }

    /// Answers OffsetForLeaderEpoch: the largest known epoch at or below `epoch` and where it ends. `log_end` is the
    /// end of the log. None if the epoch is unknown: above the latest, or below the first.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if epoch == latest.epoch {
            return Some(EpochEnd { epoch, end: log_end });
        }
        let next = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let following = self.entries.get(next)?;
        match next.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(entry) => Some(EpochEnd {
                epoch: entry.epoch,
                end: following.start,
            }),
            // Below the first known epoch: everything the asker has of it lies below the first entry.
            None => Some(EpochEnd {
                epoch,
                end: following.start,
            }),
        }
    }

    /// The epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let count = self.entries.partition_point(|entry| entry.start <= offset);
        count
            .checked_sub(1)
            .and_then(|at| self.entries.get(at))
            .map(|entry| entry.epoch)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Where an epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch, at or below the one asked for.
    pub epoch: LeaderEpoch,
    /// First offset that is not of this epoch.
    pub end: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    #[test]
    fn assigning_drops_what_never_became_part_of_the_log() {
        assert_eq!(epochs(&[(1, 0), (3, 10), (5, 10)]), epochs(&[(1, 0), (5, 10)]));
        assert_eq!(epochs(&[(1, 0), (3, 10), (2, 5)]), epochs(&[(1, 0), (2, 5)]));
        assert_eq!(epochs(&[(1, 0), (1, 7)]), epochs(&[(1, 0)]));
    }

    #[test]
    fn ends_are_where_the_next_epoch_starts() {
        let epochs = epochs(&[(2, 5), (4, 10), (7, 30)]);
        let end = |epoch| {
            epochs
                .end_offset_for(LeaderEpoch(epoch), Offset(42))
                .map(|e| (e.epoch.0, e.end.0))
        };
        assert_eq!(end(7), Some((7, 42)));
        assert_eq!(end(4), Some((4, 30)));
        assert_eq!(end(5), Some((4, 30)));
        assert_eq!(end(3), Some((2, 10)));
        assert_eq!(end(1), Some((1, 5)));
        assert_eq!(end(8), None);
        assert_eq!(epochs.epoch_at(Offset(9)), Some(LeaderEpoch(2)));
        assert_eq!(epochs.epoch_at(Offset(4)), None);
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut cut = epochs(&[(2, 5), (4, 10), (7, 30)]);
        assert!(cut.truncate_from_end(Offset(30)));
        assert!(!cut.truncate_from_end(Offset(30)));
        assert!(cut.truncate_from_start(Offset(12)));
        assert_eq!(cut, epochs(&[(4, 12)]));
        assert!(!cut.truncate_from_start(Offset(12)));
        assert!(!cut.truncate_from_start(Offset(3)));
    }
}
