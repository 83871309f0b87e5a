//! Group commit: threads that carry out the flushes of one disk.
//!
//! A partition that has something to flush submits itself. However often it does so before a thread gets to it, it is
//! flushed once, with all that had been appended by then; what is appended meanwhile goes with the next round.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::log::error::LogError;
use crate::log::flush::{FlushOutcome, FlushTicket};
use crate::log::log_dir::LogDir;

/// Something whose log is flushed: a partition. Both calls come from a flusher's thread, without any lock held; they
/// should be short.
pub trait FlushTarget: Send + Sync {
    /// Hands out what has to be flushed, under the partition's lock ([`crate::log::Log::take_flush_ticket`]).
    fn take_ticket(&self) -> Option<FlushTicket>;
    /// Takes the end of the flush ([`crate::log::Log::complete_flush`]).
    fn flushed(&self, outcome: FlushOutcome);
    /// The target's place in the flusher's queue, a field of its own.
    fn flush_slot(&self) -> &FlushSlot;
    /// Nothing has been flushed for a second although the file was filled ahead: cut that off, under the partition's
    /// lock ([`crate::log::Log::trim`]).
    fn trim(&self) {}
}

/// Whether a target waits or is being flushed. Part of the target, so that submitting allocates and hashes nothing.
#[derive(Debug, Default)]
pub struct FlushSlot {
    state: Mutex<SlotState>,
    /// Nanoseconds from the flusher's start to the target's last flush.
    last_flush: AtomicU64,
    /// True while the target waits to be trimmed.
    filled: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SlotState {
    #[default]
    Idle,
    Queued,
    Flushing,
    /// Being flushed, and something was appended since.
    FlushingAgain,
}

/// The flusher of one disk. Dropping it stops the threads after what is queued has been flushed.
#[derive(Debug)]
pub struct Flusher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    log_dir: Arc<LogDir>,
    queue: Mutex<Queue>,
    wake: Condvar,
    started: Instant,
    /// Nanoseconds from `started` to the submission of the oldest flush that is not done; MAX without one.
    oldest: AtomicU64,
    on_failure: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<dyn FlushTarget>, u64)>,
    /// Submission times of the flushes under way, one per thread.
    running: Vec<u64>,
    /// Targets that were filled ahead of their batches. Weak: this keeps nothing alive.
    filled: VecDeque<Weak<dyn FlushTarget>>,
    stopping: bool,
    failure_told: bool,
}

/// How long an idle thread waits before it looks whether `flush-point` has to be written or a file to be trimmed.
const IDLE_WAIT: Duration = Duration::from_millis(250);
/// What was filled ahead of batches stays for this long after a flush.
const TRIM_AFTER: Duration = Duration::from_secs(1);
const NONE: u64 = u64::MAX;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("root", &self.log_dir.root())
            .finish_non_exhaustive()
    }
}

impl Flusher {
    /// Starts `threads` threads for the disk. `on_failure` is called once, with the reason, when a flush has failed:
    /// every replica on the disk has to go offline.
    ///
    /// # Errors
    /// [`LogError::Io`] if the operating system gives no threads.
    pub fn start(
        log_dir: Arc<LogDir>,
        threads: usize,
        on_failure: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, LogError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                running: vec![NONE; threads.max(1)],
                ..Queue::default()
            }),
            wake: Condvar::new(),
            started: Instant::now(),
            oldest: AtomicU64::new(NONE),
            on_failure: Box::new(on_failure),
            log_dir,
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("flusher-{index}"));
            builder
                .spawn(move || shared.run(index))
                .map_err(|e| LogError::io("start a flusher for", "", e))
        };
        let threads = (0..threads.max(1)).map(spawn).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Has the target flushed soon. Cheap if it waits already.
    pub fn submit(&self, target: &Arc<dyn FlushTarget>) {
        {
            let mut state = target.flush_slot().state.lock();
            match *state {
                SlotState::Idle => *state = SlotState::Queued,
                SlotState::Flushing => {
                    *state = SlotState::FlushingAgain;
                    return;
                }
                SlotState::Queued | SlotState::FlushingAgain => return,
            }
        }
        self.shared.enqueue(Arc::clone(target));
    }

    /// Age of the oldest flush that was submitted and is not done: how long the disk has been busy with it. Zero
    /// without one. Reads one atomic and the clock.
    #[must_use]
    pub fn oldest_unfinished(&self) -> Duration {
        match self.shared.oldest.load(Ordering::Acquire) {
            NONE => Duration::ZERO,
            at => Duration::from_nanos(self.shared.now().saturating_sub(at)),
        }
    }

    /// Number of targets that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queue.lock().waiting.len()
    }

    /// Stops when all that waits has been flushed.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread contains the panics of its targets, so it has none of its own to report.
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn enqueue(&self, target: Arc<dyn FlushTarget>) {
        let mut queue = self.queue.lock();
        queue.waiting.push_back((target, self.now()));
        self.publish_oldest(&queue);
        drop(queue);
        self.wake.notify_one();
    }

    fn publish_oldest(&self, queue: &Queue) {
        let running = queue.running.iter().copied().min().unwrap_or(NONE);
        let waiting = queue.waiting.front().map_or(NONE, |(_, at)| *at);
        self.oldest.store(running.min(waiting), Ordering::Release);
    }

    fn run(&self, index: usize) {
        let mut flush_point_waits = false;
        loop {
            let Some(target) = self.next(index, flush_point_waits) else {
                return;
            };
            match target {
                Some(target) => {
                    self.flush(&target);
                    self.done(index, target);
                }
                None => self.trim_idle(),
            }
            flush_point_waits = match self.log_dir.write_flush_points_if_due() {
                Ok(waits) => waits,
                // An older flush point only makes the next start read more. A failed flush of it, however, is one.
                Err(error) if error.is_disk_full() => false,
                Err(error) if error.is_out_of_files() => {
                    let _ = self.log_dir.relieve(&error);
                    true
                }
                Err(error) => {
                    self.log_dir.fail(&error);
                    false
                }
            };
            self.tell_failure();
        }
    }

    /// The next target; Some(None) after a wait without one; None at the end.
    #[expect(
        clippy::option_option,
        reason = "three outcomes of one wait, told apart in the only caller"
    )]
    fn next(&self, index: usize, flush_point_waits: bool) -> Option<Option<Arc<dyn FlushTarget>>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some((target, at)) = queue.waiting.pop_front() {
                queue.running[index] = at;
                self.publish_oldest(&queue);
                return Some(Some(target));
            }
            if queue.stopping {
                return None;
            }
            if flush_point_waits || !queue.filled.is_empty() {
                if self.wake.wait_for(&mut queue, IDLE_WAIT).timed_out() {
                    return Some(None);
                }
            } else {
                self.wake.wait(&mut queue);
            }
        }
    }

    fn flush(&self, target: &Arc<dyn FlushTarget>) {
        *target.flush_slot().state.lock() = SlotState::Flushing;
        let round = || {
            let Some(mut ticket) = target.take_ticket() else { return };
            // With many files the file system commits its journal once for several flushes: nothing to save.
            if !self.queue.lock().waiting.is_empty() {
                ticket.skip_fill();
            }
            if ticket.fills() && !target.flush_slot().filled.swap(true, Ordering::AcqRel) {
                self.queue.lock().filled.push_back(Arc::downgrade(target));
            }
            target.flushed(ticket.flush());
            target.flush_slot().last_flush.store(self.now(), Ordering::Release);
        };
        if catch_unwind(AssertUnwindSafe(round)).is_err() {
            // Nobody knows what of that partition is on disk; the others go on.
            tracing::error!(root = %self.log_dir.root().display(), "a partition panicked in a flush");
        }
    }

    /// Trims what has been idle; looks at each once.
    fn trim_idle(&self) {
        let count = self.queue.lock().filled.len();
        for _ in 0..count {
            let Some(target) = self.queue.lock().filled.pop_front() else {
                return;
            };
            let Some(target) = target.upgrade() else { continue };
            let slot = target.flush_slot();
            let last = slot.last_flush.load(Ordering::Acquire);
            if self.now().saturating_sub(last) < TRIM_AFTER.as_nanos() as u64 {
                self.queue.lock().filled.push_back(Arc::downgrade(&target));
                continue;
            }
            slot.filled.store(false, Ordering::Release);
            if catch_unwind(AssertUnwindSafe(|| target.trim())).is_err() {
                tracing::error!(root = %self.log_dir.root().display(), "a partition panicked when it was trimmed");
            }
        }
    }

    fn done(&self, index: usize, target: Arc<dyn FlushTarget>) {
        let again = {
            let mut state = target.flush_slot().state.lock();
            let again = *state == SlotState::FlushingAgain;
            *state = if again { SlotState::Queued } else { SlotState::Idle };
            again
        };
        let mut queue = self.queue.lock();
        queue.running[index] = NONE;
        if again {
            queue.waiting.push_back((target, self.now()));
        }
        self.publish_oldest(&queue);
        drop(queue);
        if again {
            self.wake.notify_one();
        }
    }

    fn tell_failure(&self) {
        if let Some(reason) = self.log_dir.failure()
            && !std::mem::replace(&mut self.queue.lock().failure_told, true)
        {
            (self.on_failure)(&reason);
        }
    }
}
