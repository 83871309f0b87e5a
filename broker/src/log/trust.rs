//! What a data directory has to say against its own replicas (design section 4).
//!
//! With `write.caching` a replica acknowledges what is in the page cache only. `trust-checkpoint` names the partitions
//! that may have done so; that is on disk before the first such acknowledgement, and a partition leaves the file after
//! a flush that came after caching was turned off. A process that finds such names after an unclean stop, or logs that
//! lack flushed records, tells the controller, which then trusts these replicas no more. Until the controller knows,
//! the file goes on naming them: the process may stop once more before that, after the traces are gone.

use std::path::Path;

use hashbrown::HashMap;
use highwater_proto::types::{Offset, PartitionIndex, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::log::checkpoint;
use crate::log::error::LogError;
use crate::log::files::{replace_file, sync_dir};
use crate::log::log_dir::LogDir;
use crate::log::partition_dir;
use crate::log::partition_log::Log;

const FILE: &str = "trust-checkpoint";
/// It may acknowledge from the page cache.
const CACHING: &str = "caching";
/// It may have done so before an unclean stop; the controller does not know yet.
const UNTRUSTED: &str = "untrusted";
/// It lacks flushed records; the controller does not know yet.
const SHORT: &str = "short";

/// Topics of partitions, by directory name.
type Names = HashMap<Box<str>, TopicId, foldhash::fast::RandomState>;

/// What is known against the replicas of a data directory.
#[derive(Debug, Default)]
pub(super) struct Distrust(Mutex<Named>);

#[derive(Debug, Default)]
struct Named {
    caching: Names,
    untrusted: Names,
    short: Names,
    /// The file says something else.
    changed: bool,
}

impl Named {
    fn lines(&self) -> Vec<String> {
        let reasons = [
            (&self.caching, CACHING),
            (&self.untrusted, UNTRUSTED),
            (&self.short, SHORT),
        ];
        let entries = reasons
            .into_iter()
            .flat_map(|(names, reason)| names.iter().map(move |(name, id)| (name, id, reason)));
        let mut lines: Vec<String> = entries
            .filter_map(|(name, id, reason)| {
                let (topic, partition) = name.rsplit_once('-')?;
                Some(format!("{topic} {partition} {id} {reason}"))
            })
            .collect();
        lines.sort_unstable();
        lines
    }
}

fn replicas(names: &Names) -> Vec<TopicPartition> {
    let mut replicas = Vec::with_capacity(names.len());
    for (name, topic_id) in names {
        let partition = name.rsplit_once('-').and_then(|(_, partition)| partition.parse().ok());
        if let Some(partition) = partition.map(PartitionIndex) {
            replicas.push(TopicPartition {
                topic_id: *topic_id,
                partition,
            });
        }
    }
    replicas
}

impl Distrust {
    /// What the last process left. After a clean stop nobody who cached is distrusted for it.
    ///
    /// # Errors
    /// [`LogError::Malformed`] if the file cannot be read.
    pub(super) fn load(root: &Path, clean: bool) -> Result<Self, LogError> {
        let entries = checkpoint::read(&root.join(FILE), |line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [topic, partition, id, reason] = fields[..] else {
                return None;
            };
            let reason = [CACHING, UNTRUSTED, SHORT].into_iter().find(|it| *it == reason)?;
            let name: Box<str> = format!("{topic}-{partition}").into();
            Some((name, partition_dir::parse_topic_id(id)?, reason))
        })?;
        let mut named = Named::default();
        for (name, id, reason) in entries {
            match reason {
                CACHING if clean => named.changed = true,
                CACHING => {
                    named.untrusted.insert(name.clone(), id);
                    named.caching.insert(name, id);
                }
                UNTRUSTED => drop(named.untrusted.insert(name, id)),
                _ => drop(named.short.insert(name, id)),
            }
        }
        Ok(Self(Mutex::new(named)))
    }

    /// The partition is no longer here.
    pub(super) fn forget(&self, name: &str) {
        let mut named = self.0.lock();
        named.changed |= named.caching.remove(name).is_some();
    }

    /// Writes the file if it says something else. The caller lets one write at a time, and flushes the directory.
    pub(super) fn write_if_changed(&self, root: &Path) -> Result<(), LogError> {
        let lines = {
            let mut named = self.0.lock();
            if !named.changed {
                return Ok(());
            }
            named.changed = false;
            named.lines()
        };
        let written = replace_file(&root.join(FILE), checkpoint::format(lines).as_bytes());
        if written.is_err() {
            self.0.lock().changed = true;
        }
        written
    }

    /// Everything is on disk, and nothing more is acknowledged.
    pub(super) fn all_is_flushed(&self) {
        let mut named = self.0.lock();
        named.changed |= !named.caching.is_empty();
        named.caching.clear();
    }
}

impl LogDir {
    /// Puts on record, durably, that these partitions may acknowledge from the page cache. Slow.
    ///
    /// # Errors
    /// [`LogError::Io`]: they must not do so then.
    pub fn note_write_caching<'a>(
        &self,
        partitions: impl IntoIterator<Item = (&'a str, PartitionIndex, TopicId)>,
    ) -> Result<(), LogError> {
        self.change_trust(|named| {
            for (topic, partition, id) in partitions {
                let name = partition_dir::name(topic, partition);
                named.caching.insert(name.into(), id);
            }
        })
    }

    /// Puts on record, durably, that these partitions (by directory name) lack flushed records.
    ///
    /// # Errors
    /// [`LogError::Io`]: nothing may be flushed before it is on record.
    pub fn note_short(&self, partitions: impl IntoIterator<Item = (String, TopicId)>) -> Result<(), LogError> {
        self.change_trust(|named| {
            for (name, id) in partitions {
                named.short.insert(name.into(), id);
            }
        })
    }

    /// Replicas that may have acknowledged from the page cache before an unclean stop, as far as the controller does not
    /// know yet.
    #[must_use]
    pub fn untrusted(&self) -> Vec<TopicPartition> {
        replicas(&self.distrust.0.lock().untrusted)
    }

    /// Replicas that lack flushed records, as far as the controller does not know yet.
    #[must_use]
    pub fn short(&self) -> Vec<TopicPartition> {
        replicas(&self.distrust.0.lock().short)
    }

    /// The controller knows which replicas are untrusted and which are short.
    pub fn distrust_is_known(&self) {
        {
            let mut named = self.distrust.0.lock();
            named.changed |= !named.untrusted.is_empty() || !named.short.is_empty();
            named.untrusted.clear();
            named.short.clear();
        }
        self.table_has_changed();
    }

    fn change_trust(&self, change: impl FnOnce(&mut Named)) -> Result<(), LogError> {
        self.write_alone(|| {
            {
                let mut named = self.distrust.0.lock();
                change(&mut named);
                named.changed = true;
            }
            self.distrust.write_if_changed(self.root())?;
            sync_dir(self.root())
        })
    }

    fn is_caching(&self, name: &str, topic_id: TopicId) -> bool {
        self.distrust.0.lock().caching.get(name) == Some(&topic_id)
    }

    /// The partition acknowledges from the disk, and what it acknowledged before is there.
    fn no_longer_caching(&self, name: &str) {
        self.distrust.forget(name);
        self.table_has_changed();
    }
}

/// How a log stands to `write.caching`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    /// It is not on record: the log acknowledges what is on disk, whatever its configuration says.
    Unnoted,
    /// It is on record: with `write.caching` the log acknowledges what is in the page cache.
    Noted {
        /// Once caching is turned off: what was acknowledged from the page cache ends here at the latest.
        end: Offset,
    },
}

impl Log {
    /// True if the log counts what is in the page cache as flushed.
    #[must_use]
    pub fn caches_writes(&self) -> bool {
        self.config.write_caching && self.caching != Caching::Unnoted
    }

    /// True if `write.caching` is on and waits for [`LogDir::note_write_caching`]. Until then everything is flushed.
    #[must_use]
    pub fn awaits_write_caching(&self) -> bool {
        self.config.write_caching && self.caching == Caching::Unnoted
    }

    /// [`LogDir::note_write_caching`] has this partition on record.
    pub fn write_caching_is_noted(&mut self) {
        self.caching = Caching::Noted { end: self.log_end };
        // It may have been turned off again meanwhile.
        self.trust_if_flushed();
    }

    /// How an opened log begins.
    pub(super) fn recall_caching(&mut self) {
        if self.log_dir.is_caching(self.name(), self.topic_id) {
            self.caching = Caching::Noted { end: self.log_end };
        }
    }

    /// The configuration changed: with caching turned off, what was acknowledged so far ends here.
    pub(super) fn caching_changed(&mut self, before: bool) {
        if let Caching::Noted { end } = &mut self.caching
            && before
        {
            *end = self.log_end;
        }
        self.trust_if_flushed();
    }

    /// The replica is trusted again once a flush has reached what it acknowledged from the page cache.
    pub(super) fn trust_if_flushed(&mut self) {
        if let Caching::Noted { end } = self.caching
            && !self.config.write_caching
            && self.durability.end() >= end.min(self.log_end)
        {
            self.log_dir.no_longer_caching(self.name());
            self.caching = Caching::Unnoted;
        }
    }
}
