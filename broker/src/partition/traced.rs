//! Appends of traced requests: when they were flushed here, fetched by each follower, and committed.
//!
//! Without a traced request all of this is one look at a counter.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use highwater_node::telemetry::Trace;
use highwater_proto::types::{NodeId, Offset};
use parking_lot::Mutex;
use smallvec::SmallVec;

/// Appends that are followed at a time; the oldest gives way.
const MAX_TRACED: usize = 64;

/// The appends that are followed in one partition.
#[derive(Debug, Default)]
pub(super) struct TracedAppends {
    count: AtomicUsize,
    appends: Mutex<Vec<TracedAppend>>,
}

#[derive(Debug)]
struct TracedAppend {
    trace: Trace,
    appended: SystemTime,
    /// Offset after its last record.
    end: Offset,
    flushed: bool,
    fetched_by: SmallVec<[NodeId; 4]>,
}

impl TracedAppends {
    /// Follows an append that ends at `end`.
    pub(super) fn add(&self, trace: &Trace, end: Offset) {
        let mut appends = self.appends.lock();
        if appends.len() == MAX_TRACED {
            appends.remove(0);
        }
        appends.push(TracedAppend {
            trace: trace.clone(),
            appended: SystemTime::now(),
            end,
            flushed: false,
            fetched_by: SmallVec::new(),
        });
        self.count.store(appends.len(), Ordering::Release);
    }

    fn is_idle(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Follows none of them any more: this replica does not lead, or is offline.
    pub(super) fn clear(&self) {
        if self.is_idle() {
            return;
        }
        let mut appends = self.appends.lock();
        appends.clear();
        self.count.store(0, Ordering::Release);
    }

    /// Everything below `end` is flushed on this broker.
    pub(super) fn flushed(&self, end: Offset) {
        if self.is_idle() {
            return;
        }
        for append in self.appends.lock().iter_mut().filter(|append| append.end <= end) {
            if !std::mem::replace(&mut append.flushed, true) {
                append.trace.was("flush", append.appended, []);
            }
        }
    }

    /// A follower fetches from `offset`: it has flushed what is below.
    pub(super) fn fetched(&self, follower: NodeId, offset: Offset) {
        if self.is_idle() {
            return;
        }
        for append in self.appends.lock().iter_mut().filter(|append| append.end <= offset) {
            if !append.fetched_by.contains(&follower) {
                append.fetched_by.push(follower);
                let broker = ("broker", i64::from(follower.get()).into());
                append.trace.was("follower", append.appended, [broker]);
            }
        }
    }

    /// The high watermark is at `offset`: what is below needs no following any more, but by followers that are behind.
    pub(super) fn committed(&self, offset: Offset) {
        if self.is_idle() {
            return;
        }
        let mut appends = self.appends.lock();
        appends.retain(|append| {
            let committed = append.end <= offset;
            if committed {
                append.trace.was("high watermark", append.appended, []);
            }
            !committed
        });
        self.count.store(appends.len(), Ordering::Release);
    }
}
