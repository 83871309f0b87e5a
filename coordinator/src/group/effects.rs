//! What a decision asks of the world.

use std::time::Duration;

use highwater_proto::types::Offset;

use super::config::GroupConfig;
use super::record::Record;
use super::reply::Reply;
use super::time::Now;
use super::timers::Timers;

/// Names a request that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Records to append and replies to give, in order. A reply may go out only when all records that were decided before
/// it are durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// Records to append, each element all or nothing.
    pub records: Vec<Vec<Record>>,
    /// Replies, to requests of now and to parked ones.
    pub replies: Vec<(Token, Reply)>,
}

impl Effects {
    /// True if nothing has to happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty()
    }
}

/// What a decision may touch besides the group it is about.
pub(super) struct Env<'a> {
    /// Settings.
    pub(super) config: &'a GroupConfig,
    /// Deadlines.
    pub(super) timers: &'a mut Timers,
    /// Offset that the next record will have in the log.
    pub(super) next_offset: &'a mut Offset,
    /// What comes out.
    pub(super) effects: &'a mut Effects,
    /// The time of the decision.
    pub(super) now: Now,
}

impl Env<'_> {
    /// Gives a reply.
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.effects.replies.push((token, reply));
    }

    /// Appends records, all or nothing, and tells the offset of the first.
    pub(super) fn append(&mut self, records: Vec<Record>) -> Offset {
        let first = *self.next_offset;
        if !records.is_empty() {
            *self.next_offset = first.plus(records.len() as i64);
            self.effects.records.push(records);
        }
        first
    }

    /// Appends records that are harmless one by one, in batches that fit.
    pub(super) fn append_each(&mut self, records: Vec<Record>) {
        let mut batch = Vec::new();
        let mut size = 0;
        for record in records {
            if !batch.is_empty() && record.size().saturating_add(size) > self.config.max_append_bytes {
                self.append(std::mem::take(&mut batch));
                size = 0;
            }
            size = record.size().saturating_add(size);
            batch.push(record);
        }
        self.append(batch);
    }

    /// True if the records fit into one batch.
    pub(super) fn fits(&self, records: &[Record]) -> bool {
        records.iter().map(Record::size).fold(0, usize::saturating_add) <= self.config.max_append_bytes
    }

    /// The monotonic time `after` from now.
    pub(super) fn deadline(&self, after: Duration) -> Duration {
        self.now.monotonic.saturating_add(after)
    }
}
