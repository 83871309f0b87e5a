//! Filling the active segment ahead of its batches, so that a flush carries data only.
//!
//! An fdatasync of a file that grew commits the file system's journal; one of a file that was filled before writes the
//! pages and no more (figures: `docs/decisions/0002-flush-path.md`). The filler is written by the flusher's thread as
//! part of a flush, in steps that follow the partition's rate, and cut off when the segment is closed. Recovery finds
//! the end of the log before it, as before any bytes that are no batch. It is not zeros: Kafka's readers and its dump
//! tool take a batch of size 0 for corruption, but one that is larger than the file for a tail that is being written.

use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::log::files::write_at;

/// A step covers about this many flushes of the size of the last one.
const FLUSHES_PER_STEP: u64 = 16;
/// With room for fewer flushes than this, the next step is due.
const FLUSHES_LEFT: u64 = 4;
/// Smallest and largest step.
const STEP: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;
/// Flushes of a segment before the first step: partitions that are hardly used are not worth it.
const FLUSHES_BEFORE: u32 = 2;
const PAGE: u64 = 4096;
/// What the filler is made of; as the size of a batch it is larger than any file.
pub(super) const FILLER: u8 = 0x7f;
static CHUNK: [u8; 64 << 10] = [FILLER; 64 << 10];

/// How far a segment's file is filled.
#[derive(Debug, Default)]
pub(super) struct FillAhead {
    filled: u64,
    last_flush: u64,
    flushes: u32,
    under_way: Option<Arc<Fill>>,
}

/// Filler to be written to a range of a file that no batch has reached.
#[derive(Debug)]
pub(super) struct Fill {
    file: Arc<File>,
    from: u64,
    to: u64,
    phase: Mutex<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    Done,
    Cancelled,
}

impl FillAhead {
    /// The step that a flush of the file should take, if one is due. `size` is the end of the batches, `limit` the
    /// size that the segment may reach.
    pub(super) fn plan(&mut self, file: &Arc<File>, size: u64, limit: u64) -> Option<Arc<Fill>> {
        self.settle();
        let flushed = size.saturating_sub(std::mem::replace(&mut self.last_flush, size));
        self.flushes = self.flushes.saturating_add(1);
        let filled = self.filled.max(size);
        let enough = filled - size >= flushed * FLUSHES_LEFT;
        if self.flushes <= FLUSHES_BEFORE || flushed == 0 || enough {
            return None;
        }
        let step = (flushed * FLUSHES_PER_STEP).clamp(*STEP.start(), *STEP.end());
        let to = (size + step).next_multiple_of(PAGE).min(limit);
        if to <= filled {
            return None;
        }
        let fill = Fill {
            file: Arc::clone(file),
            from: filled,
            to,
            phase: Mutex::new(Phase::Pending),
        };
        let fill = Arc::new(fill);
        self.under_way = Some(Arc::clone(&fill));
        Some(fill)
    }

    /// To be called before batches are written up to `end`: a step that they would run into is called off, or waited
    /// for if it has begun.
    pub(super) fn make_way(&mut self, end: u64) {
        if self.under_way.as_ref().is_some_and(|fill| end > fill.from) {
            self.settle();
        }
    }

    /// Ends what is under way; true if the file is longer than `size` by filler and has to be cut.
    pub(super) fn end(&mut self, size: u64) -> bool {
        self.settle();
        std::mem::take(self).filled > size
    }

    fn settle(&mut self) {
        if let Some(fill) = self.under_way.take() {
            let mut phase = fill.phase.lock();
            match *phase {
                Phase::Pending => *phase = Phase::Cancelled,
                Phase::Done => self.filled = fill.to,
                Phase::Cancelled => {}
            }
        }
    }
}

impl Fill {
    /// Writes the filler, unless batches have come in the way.
    pub(super) fn run(&self) {
        let mut phase = self.phase.lock();
        if *phase != Phase::Pending {
            return;
        }
        let mut at = self.from;
        while at < self.to {
            let count = (self.to - at).min(CHUNK.len() as u64);
            // Without room the file just grows with its batches, as it would have without this.
            if write_at(&self.file, &CHUNK[..count as usize], at).is_err() {
                let _ = self.file.set_len(self.from);
                *phase = Phase::Cancelled;
                return;
            }
            at += count;
        }
        *phase = Phase::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_rate_and_give_way_to_batches() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let size_of_file = || file.metadata().unwrap().len();
        let mut ahead = FillAhead::default();
        assert!(ahead.plan(&file, 10_000, 1 << 30).is_none());
        assert!(
            ahead.plan(&file, 20_000, 1 << 30).is_none(),
            "not before the third flush"
        );
        let fill = ahead.plan(&file, 30_000, 1 << 30).unwrap();
        fill.run();
        assert_eq!(size_of_file(), 192_512, "16 flushes ahead, to a whole page");
        let mut batch_size = [0; 4];
        crate::log::files::read_at(&file, &mut batch_size, 30_008).unwrap();
        assert!(
            i32::from_be_bytes(batch_size) > 2_000_000_000,
            "Kafka's dump tool takes it for the tail of a file that is being written"
        );
        for flush in 4..16 {
            ahead.make_way(flush * 10_000);
            assert!(ahead.plan(&file, flush * 10_000, 1 << 30).is_none());
        }
        let fill = ahead.plan(&file, 160_000, 1 << 30).unwrap();
        ahead.make_way(200_000);
        fill.run();
        assert_eq!(size_of_file(), 192_512, "batches came first");
        assert!(ahead.end(192_000));
        assert!(!ahead.end(192_512));
    }

    #[test]
    fn a_step_never_goes_beyond_the_segment() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut ahead = FillAhead::default();
        let fills: Vec<_> = (1..=3).filter_map(|i| ahead.plan(&file, i * 1000, 3500)).collect();
        fills.iter().for_each(|fill| fill.run());
        assert_eq!(file.metadata().unwrap().len(), 3500);
        assert!(ahead.plan(&file, 3500, 3500).is_none());
        assert!(!ahead.end(3500));
    }
}
