//! Disks: what the file system shows, and what of it a power loss leaves.

use std::collections::BTreeMap;

use highwater_broker::replica::LogEnds;
use highwater_proto::types::{LeaderEpoch, Offset, TopicPartition};
use uuid::Uuid;

use crate::random::Random;

/// One record batch. Two batches are the same bytes if and only if they are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// Offset of its first record.
    pub base: Offset,
    /// Records.
    pub count: i64,
    /// The leader epoch it was appended in.
    pub epoch: LeaderEpoch,
    /// Its content: no two appends have the same.
    pub content: u64,
}

impl Batch {
    /// The offset behind its last record.
    #[must_use]
    pub fn end(self) -> Offset {
        self.base.plus(self.count)
    }
}

/// The files of one replica.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The log as whoever opens it sees it: page cache and disk.
    batches: Vec<Batch>,
    /// So many of the batches are on disk, whoever knows it.
    durable: usize,
    /// The checkpoint of the high watermark.
    pub high_watermark: Offset,
    /// Since the last time that everything was flushed, records were acknowledged from the page cache.
    pub cached: bool,
}

impl Files {
    /// All batches, in order.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The batches that a power loss leaves for certain.
    #[must_use]
    pub fn durable(&self) -> &[Batch] {
        &self.batches[..self.durable]
    }

    /// The log end offset.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |batch| batch.end())
    }

    /// The epoch of the last batch.
    #[must_use]
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.batches.last().map(|batch| batch.epoch)
    }

    /// Where the log stands, if it is flushed up to `flushed`.
    #[must_use]
    pub fn ends(&self, flushed: Offset) -> LogEnds {
        LogEnds {
            start: Offset(0),
            end: self.end(),
            flushed,
        }
    }

    /// Index of the first batch that is not wholly below `offset`.
    #[must_use]
    pub fn position(&self, offset: Offset) -> usize {
        self.batches.partition_point(|batch| batch.end() <= offset)
    }

    /// Appends to the page cache.
    pub fn append(&mut self, batch: Batch) {
        self.batches.push(batch);
    }

    /// Cuts everything from `offset` on, and the batch that it lies in. On disk when this returns, as in production.
    pub fn truncate(&mut self, offset: Offset) {
        let keep = self.position(offset);
        self.batches.truncate(keep);
        self.durable = self.durable.min(keep);
    }

    /// fdatasync: all that is in the page cache now is on disk.
    pub fn sync(&mut self) {
        self.durable = self.batches.len();
    }

    /// What was not flushed is lost, but for a part that the kernel happened to write.
    fn lose_power(&mut self, random: &mut Random) {
        let unflushed = self.batches.len() - self.durable;
        let keep = self.durable
            + if random.one_in(2) {
                0
            } else {
                random.below(unflushed + 1)
            };
        self.batches.truncate(keep);
        self.durable = keep;
    }
}

/// A broker's data directory.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The random id in `meta.properties`.
    pub directory: Uuid,
    /// The replicas.
    pub logs: BTreeMap<TopicPartition, Files>,
    /// The last process stopped cleanly.
    pub clean: bool,
}

impl Disk {
    /// An empty directory.
    #[must_use]
    pub fn empty(directory: Uuid) -> Self {
        Self {
            directory,
            logs: BTreeMap::new(),
            clean: false,
        }
    }

    /// What was not flushed is lost.
    pub fn lose_power(&mut self, random: &mut Random) {
        for files in self.logs.values_mut() {
            files.lose_power(random);
        }
    }
}
