//! Acknowledgements that wait for the high watermark.

use std::collections::VecDeque;

use highwater_proto::types::Offset;

/// Ordered by the offset that the high watermark must reach.
#[derive(Debug)]
pub(super) struct WaitingAcks<A> {
    queue: VecDeque<(Offset, A)>,
}

impl<A> Default for WaitingAcks<A> {
    fn default() -> Self {
        Self { queue: VecDeque::new() }
    }
}

impl<A> WaitingAcks<A> {
    /// Appends come in offset order; only a duplicate, which waits for its original, goes in front of others.
    pub(super) fn insert(&mut self, end: Offset, ack: A) {
        let position = if self.queue.back().is_none_or(|(last, _)| *last <= end) {
            self.queue.len()
        } else {
            self.queue.partition_point(|(waiting, _)| *waiting <= end)
        };
        self.queue.insert(position, (end, ack));
    }

    pub(super) fn reached(&mut self, high_watermark: Offset) -> impl Iterator<Item = A> + '_ {
        let count = self.queue.partition_point(|(end, _)| *end <= high_watermark);
        self.queue.drain(..count).map(|(_, ack)| ack)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = A> + '_ {
        self.queue.drain(..).map(|(_, ack)| ack)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&A) -> bool) {
        self.queue.retain(|(_, ack)| keep(ack));
    }
}
