//! One client connection: one task, requests pipelined, replies in the order of the requests.
//!
//! Nothing is queued without a bound: while too many requests, request bytes or reply bytes are under way, the socket is
//! not read, and TCP makes the client wait.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use highwater_proto::kafka::ByteStr;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{PollSemaphore, WaitForCancellationFutureOwned};

use crate::api::{self, ServedApi};
use crate::broker::Broker;
use crate::client::Client;
use crate::frame::{FrameError, FrameReader};
use crate::listener::Counted;
use crate::output::Output;
use crate::reply::{Answer, Pending};

/// Requests of one connection that are under way at a time.
const MAX_IN_FLIGHT_REQUESTS: usize = 128;
/// Request bytes of one connection that are under way, beyond which no further request is taken.
const MAX_IN_FLIGHT_BYTES: usize = 8 << 20;
/// Reply bytes in memory beyond which no further reply is made.
const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// After so long without traffic a connection gives its buffers back.
const RELEASE_AFTER: Duration = Duration::from_secs(2);
/// A frame that holds a share of the process's budget must come in within this and its size at
/// [`LEAST_FRAME_BYTES_PER_SECOND`], once the budget runs short.
const LEAST_FRAME_TIME: Duration = Duration::from_secs(10);
const LEAST_FRAME_BYTES_PER_SECOND: u64 = 4 << 20;
/// Without an idle limit: longer than a process lives.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// What requests under way get to finish when the process stops.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(2);
/// Rounds of work after which other tasks of the same thread get their turn.
const ROUNDS_PER_POLL: usize = 64;
/// Bytes read after which they do: a client with large requests would otherwise keep a thread for many milliseconds.
const READ_BYTES_PER_POLL: usize = 512 << 10;
/// Unit of the process's budget of request memory.
pub(crate) const BUDGET_UNIT_BYTES: usize = 1 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the client closed it")]
    ByClient,
    #[error("it was idle")]
    Idle,
    #[error("the client did not finish a request in time while memory was short")]
    SlowRequest,
    #[error("the broker stops")]
    Shutdown,
    #[error("a request could not be answered otherwise")]
    ByAnswer,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A request that is under way.
struct InFlight {
    api: &'static ServedApi,
    started: Instant,
    /// Bytes of the request.
    bytes: usize,
    /// Bytes of them that are still in memory.
    held: usize,
    /// The frame's share of the process's budget, if it is large and in memory.
    budget: Option<OwnedSemaphorePermit>,
    pending: Pending,
}

impl InFlight {
    /// Gives up the share in memory of a request whose frame is gone, and says how much that was: what a produce request
    /// waits with after its append is not worth counting.
    fn free_frame(&mut self) -> usize {
        if !self.api.frees_frame || matches!(self.pending, Pending::Parked(_)) {
            return 0;
        }
        self.budget = None;
        std::mem::take(&mut self.held)
    }
}

pub(crate) struct Connection {
    stream: Arc<TcpStream>,
    broker: Arc<Broker>,
    client: Arc<Client>,
    /// `client.id` of the last request.
    client_id: Option<ByteStr>,
    frames: FrameReader,
    /// Waits for a share of the process's budget; in a box, because few connections ever need it.
    budget: Option<Box<PollSemaphore>>,
    /// The share of the frame that is coming in, and when it began to be held.
    frame_budget: Option<(OwnedSemaphorePermit, Instant)>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Bytes read since the task got its turn.
    read_this_turn: usize,
    output: Output,
    /// No further request is read: the client closed its side, or an answer or the shutdown ends the connection.
    closing: Option<Closed>,
    last_activity: Instant,
    timer: Pin<Box<Sleep>>,
    released: bool,
    shutdown: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _counted: Counted,
}

/// Serves the connection to its end. A future written by hand: as an async function it would be twice as large.
impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let reason = ready!(self.poll_closed(cx));
        match reason {
            Closed::ByClient | Closed::Shutdown => {}
            reason => {
                let (host, connection_id) = (self.client.host, self.client.connection_id);
                tracing::debug!(%host, connection_id, %reason, "connection closed");
            }
        }
        Poll::Ready(())
    }
}

impl Connection {
    /// A connection that is counted until it is dropped.
    pub(crate) fn new(stream: TcpStream, broker: Arc<Broker>, client: Client, counted: Counted) -> Self {
        let now = Instant::now();
        let limits = broker.limits();
        Self {
            stream: Arc::new(stream),
            frames: FrameReader::new(limits.max_request_bytes),
            budget: None,
            frame_budget: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            read_this_turn: 0,
            output: Output::new(Arc::clone(&limits.cold_reads)),
            closing: None,
            last_activity: now,
            timer: Box::pin(tokio::time::sleep_until(now + RELEASE_AFTER)),
            released: false,
            shutdown: Some(Box::pin(broker.shutdown().token().cancelled_owned())),
            client: Arc::new(client),
            client_id: None,
            broker,
            _counted: counted,
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.poll_shutdown(cx);
        self.read_this_turn = 0;
        for _ in 0..ROUNDS_PER_POLL {
            let progress = match self.poll_round(cx) {
                Ok(progress) => progress,
                Err(closed) => return Poll::Ready(closed),
            };
            if let Some(closed) = self.finished() {
                return Poll::Ready(closed);
            }
            if !progress {
                return self.poll_timer(cx);
            }
            self.active();
            if self.read_this_turn >= READ_BYTES_PER_POLL {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One step of everything that can go on; true if something did.
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        let mut progress = self.dispatch();
        progress |= self.poll_answers(cx);
        progress |= self.poll_output(cx)?;
        progress |= self.poll_read(cx)?;
        Ok(progress)
    }

    /// Hands whole frames to their handlers.
    fn dispatch(&mut self) -> bool {
        let mut progress = false;
        while self.may_dispatch() {
            let frame = match self.frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.closing.get_or_insert(Closed::Frame(error));
                    break;
                }
            };
            let bytes = frame.len();
            let budget = self.frame_budget.take().map(|(permit, _)| permit);
            let Some((api, pending)) = api::dispatch(&self.broker, &self.client, &mut self.client_id, frame) else {
                // No such API or version, or a body that is none: closed without an answer (rule 110).
                self.closing.get_or_insert(Closed::ByAnswer);
                break;
            };
            let mut request = InFlight {
                api,
                started: Instant::now(),
                bytes,
                held: bytes,
                budget,
                pending,
            };
            self.in_flight_bytes += bytes;
            self.in_flight_bytes -= request.free_frame();
            self.in_flight.push_back(request);
            if self.broker.limits().request_memory_is_short() {
                self.frames.release();
            }
            progress = true;
        }
        progress
    }

    fn may_dispatch(&self) -> bool {
        matches!(self.closing, None | Some(Closed::ByClient)) && self.may_take_more()
    }

    fn may_take_more(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT_REQUESTS
            && self.in_flight_bytes < MAX_IN_FLIGHT_BYTES
            && !matches!(
                self.in_flight.back(),
                Some(InFlight {
                    pending: Pending::Parked(_),
                    ..
                })
            )
    }

    /// Moves answers that are there to the output, in order.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        // What is parked is always the newest request; it must go on whatever waits in front of it.
        if let Some(last) = self.in_flight.back_mut()
            && let Pending::Parked(parked) = &mut last.pending
            && let Poll::Ready(pending) = parked.as_mut().poll(cx)
        {
            last.pending = pending;
            self.in_flight_bytes -= last.free_frame();
            progress = true;
        }
        while self.output.memory() < MAX_OUTPUT_BYTES {
            let Some(first) = self.in_flight.front_mut() else { break };
            if let Pending::Later(later) = &mut first.pending {
                match later.as_mut().poll(cx) {
                    Poll::Ready(answer) => first.pending = Pending::Done(answer),
                    Poll::Pending => break,
                }
            }
            if !matches!(first.pending, Pending::Done(_)) {
                break;
            }
            let Some(done) = self.in_flight.pop_front() else { break };
            self.in_flight_bytes -= done.held;
            progress = true;
            let response_bytes = match done.pending {
                Pending::Done(Answer::Reply(reply)) => {
                    let bytes = reply.size();
                    self.output.push(reply);
                    bytes
                }
                Pending::Done(Answer::Close) => {
                    self.closing = Some(Closed::ByAnswer);
                    self.in_flight.clear();
                    self.in_flight_bytes = 0;
                    0
                }
                _ => 0,
            };
            self.broker
                .metrics()
                .request(done.api, done.started.elapsed(), done.bytes, response_bytes);
        }
        progress
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        if self.output.is_empty() {
            return Ok(false);
        }
        let written = self.output.poll_write(&self.stream, cx);
        if let Some(cold) = self.output.take_temperature() {
            self.client.reads_cold_data.store(cold, Ordering::Relaxed);
        }
        match written {
            Poll::Ready(written) => Ok(written? > 0),
            Poll::Pending => Ok(false),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        if self.closing.is_some() || !self.may_take_more() || !self.poll_budget(cx) {
            return Ok(false);
        }
        match self.stream.poll_read_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Ok(false),
        }
        match self.frames.try_read(&self.stream) {
            Ok(0) => {
                self.closing = Some(Closed::ByClient);
                Ok(true)
            }
            Ok(read) => {
                self.read_this_turn += read;
                Ok(true)
            }
            // The readiness is used up: ask again, which registers this task.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.stream.poll_read_ready(cx) {
                Poll::Ready(ready) => ready.map(|()| true).map_err(Closed::Io),
                Poll::Pending => Ok(false),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// True if the frame in front may go on coming in: it is small, or it has its share of the budget for as much as the
    /// next read may bring. The share grows with what arrives, so that an announced length costs nobody anything.
    fn poll_budget(&mut self, cx: &mut Context<'_>) -> bool {
        let needed = self.frames.planned().div_ceil(BUDGET_UNIT_BYTES);
        let held = self.frame_budget.as_ref().map_or(0, |(permit, _)| permit.num_permits());
        let Some(units) = needed.checked_sub(held).filter(|units| *units > 0) else {
            return true;
        };
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let memory = &self.broker.limits().request_memory;
        let permit = match &mut self.budget {
            None => match Arc::clone(memory).try_acquire_many_owned(units) {
                Ok(permit) => Some(permit),
                Err(_) => {
                    self.budget = Some(Box::new(PollSemaphore::new(Arc::clone(memory))));
                    return self.poll_budget(cx);
                }
            },
            Some(semaphore) => match semaphore.poll_acquire_many(cx, units) {
                Poll::Ready(permit) => permit,
                Poll::Pending => return false,
            },
        };
        self.budget = None;
        match (&mut self.frame_budget, permit) {
            (Some((held, _)), Some(permit)) => held.merge(permit),
            (none, permit) => *none = permit.map(|permit| (permit, Instant::now())),
        }
        true
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) {
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.as_mut().poll(cx).is_ready()
        {
            self.shutdown = None;
            self.closing = Some(Closed::Shutdown);
            self.timer.as_mut().reset(Instant::now() + SHUTDOWN_DRAIN);
        }
    }

    /// The end of a connection that is closing and has nothing left to do.
    fn finished(&mut self) -> Option<Closed> {
        let closing = self.closing.as_ref()?;
        let done = match closing {
            // Whoever closed does not read answers; but what it sent before is carried out.
            Closed::ByClient => !self.frames.is_whole() && self.may_take_more(),
            _ => self.in_flight.is_empty() && self.output.is_empty(),
        };
        if done { self.closing.take() } else { None }
    }

    fn active(&mut self) {
        self.last_activity = Instant::now();
        if self.released {
            self.released = false;
            if self.closing.is_none() {
                self.timer.as_mut().reset(self.last_activity + RELEASE_AFTER);
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.timer_fired(now) {
                Ok(next) => self.timer.as_mut().reset(next),
                Err(closed) => return Poll::Ready(closed),
            }
        }
        Poll::Pending
    }

    /// When to look again, or why the connection ends.
    fn timer_fired(&mut self, now: Instant) -> Result<Instant, Closed> {
        if matches!(self.closing, Some(Closed::Shutdown)) {
            return Err(Closed::Shutdown);
        }
        let limits = self.broker.limits();
        let idle_end = limits.max_idle.map(|max_idle| self.last_activity + max_idle);
        // A long poll or a parked join is not idleness; a client that does not take its answers is.
        let waits_for_us = !self.in_flight.is_empty() && self.output.is_empty();
        if idle_end.is_some_and(|end| now >= end) && !waits_for_us {
            return Err(Closed::Idle);
        }
        if let Some(deadline) = self.frame_deadline() {
            if now >= deadline && limits.request_memory_is_short() {
                return Err(Closed::SlowRequest);
            }
            return Ok(now + RELEASE_AFTER);
        }
        if now < self.last_activity + RELEASE_AFTER {
            return Ok(self.last_activity + RELEASE_AFTER);
        }
        if !self.released {
            self.released = true;
            self.frames.release();
            self.output.release();
            if self.in_flight.is_empty() {
                self.in_flight = VecDeque::new();
            }
        }
        // Without a limit there is nothing to look at until the next traffic.
        Ok(idle_end.unwrap_or(now + NEVER).max(now + RELEASE_AFTER))
    }

    fn frame_deadline(&self) -> Option<Instant> {
        let (permit, since) = self.frame_budget.as_ref()?;
        let bytes = permit.num_permits() as u64 * BUDGET_UNIT_BYTES as u64;
        Some(*since + LEAST_FRAME_TIME + Duration::from_secs(bytes / LEAST_FRAME_BYTES_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of idle connections have to fit into a few KiB each: their buffers are given back, this is what stays.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
    }
}
