//! Stalled flushes, and the threads that append.

use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use highwater_broker::log::{FlushOutcome, FlushSlot, FlushTarget, FlushTicket, Flusher};
use highwater_broker::partition::{Isolation, Partition, ReadRequest, WaiterGuard, Waiting};

/// A partition whose flush lasts until the other end of the channel is dropped.
struct Stalled {
    until: Mutex<mpsc::Receiver<()>>,
    slot: FlushSlot,
}

impl FlushTarget for Stalled {
    fn take_ticket(&self) -> Option<FlushTicket> {
        let _ = self.until.lock().unwrap().recv();
        None
    }

    fn flushed(&self, _: FlushOutcome) {}

    fn flush_slot(&self) -> &FlushSlot {
        &self.slot
    }
}

/// Remembers the thread that wakes it.
#[derive(Default)]
struct WokenBy(Mutex<Option<ThreadId>>);

impl Wake for WokenBy {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = Some(std::thread::current().id());
    }
}

/// Stalls one flush for as long as the result lives; returns when it is older than 100 ms.
pub async fn stall(flusher: &Flusher) -> mpsc::Sender<()> {
    let (let_go, until) = mpsc::channel();
    let stalled: Arc<dyn FlushTarget> = Arc::new(Stalled {
        until: Mutex::new(until),
        slot: FlushSlot::default(),
    });
    flusher.submit(&stalled);
    while flusher.oldest_unfinished() <= Duration::from_millis(100) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let_go
}

/// The thread on which `append` appends: the one that wakes readers who wait at the log end.
pub async fn appended_by(partition: &Partition, append: impl Future<Output = ()>) -> ThreadId {
    let guard = WaiterGuard::new();
    let at_the_end = ReadRequest {
        known_high_watermark: None,
        leader_only: true,
        current_leader_epoch: None,
        offset: partition.ends().unwrap().log_end,
        last_fetched_epoch: None,
        max_bytes: 1,
        at_least_one: true,
        isolation: Isolation::LogEnd,
        follower: None,
    };
    let waiter = || Arc::clone(guard.waiter());
    let waiting = Waiting {
        enough: 1,
        waiter: &waiter,
    };
    partition.read(&at_the_end, Some(&waiting)).unwrap();
    let woken_by = Arc::new(WokenBy::default());
    let waker = Waker::from(Arc::clone(&woken_by));
    let mut woken = pin!(guard.waiter().woken());
    assert!(woken.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    append.await;
    let by = *woken_by.0.lock().unwrap();
    by.expect("an append wakes whoever waits at the log end")
}
