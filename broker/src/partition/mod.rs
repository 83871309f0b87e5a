//! One partition: its log and its replica behind one lock, and whoever waits for them.
//!
//! The lock is held for a page-cache append or an index lookup, never across an await and never while bytes are
//! checked, compressed or flushed. What a step of the replica leads to (acknowledgements, wake-ups) is carried out after
//! the lock is released.

mod acks;
mod append;
mod feed;
mod flush_wait;
mod follow;
mod hand_over;
mod lifecycle;
mod lookup;
mod read;
mod refetched;
mod reports;
mod shard;
mod topic;
mod traced;
mod waiters;

use std::sync::{Arc, Weak};
use std::time::Duration;

use highwater_node::telemetry::Trace;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicPartition};
use parking_lot::{Condvar, Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::latency::Latency;
use crate::log::{FlushSlot, Flusher, Log, LogError};
use crate::replica::{AckError, Completed, Effects, LeadershipError, Replica, ShardOwner};

pub use self::acks::{Ack, AckGroup, AckWait};
pub use self::append::{AppendError, AppendOutcome, Precheck};
pub use self::feed::Feed;
pub use self::flush_wait::FlushGroup;
pub use self::follow::{FetchPoint, FollowError, Following, LeaderBatches};
pub use self::hand_over::HandOver;
pub use self::lookup::{FoundOffset, LookupError};
pub use self::read::{Isolation, ReadOutcome, ReadRequest, Waiting};
pub use self::reports::{News, Reports};
pub use self::shard::ShardOpened;
pub use self::topic::{TopicMetrics, TopicSettings, TopicState};
pub use self::waiters::{FetchWaiter, WaiterGuard};

use self::feed::Feeds;
use self::follow::FlushAwaited;
use self::refetched::Refetched;
use self::traced::TracedAppends;
use self::waiters::FetchWaiters;

/// A partition that this broker has a replica of.
#[derive(Debug)]
pub struct Partition {
    topic: Arc<TopicState>,
    index: PartitionIndex,
    disk: Arc<Disk>,
    reports: Arc<Reports>,
    flush_slot: FlushSlot,
    state: Mutex<State>,
    /// Told when a flush that was under way is over.
    flush_over: Condvar,
    traced: TracedAppends,
}

/// What the partitions of a disk share.
#[derive(Debug)]
pub struct Disk {
    /// Weak: what waits in the flusher's queue must not keep the flusher alive.
    flusher: Weak<Flusher>,
    /// How long flushes take.
    flushes: Latency,
}

impl Disk {
    /// A disk with its flusher.
    #[must_use]
    pub fn new(flusher: &Arc<Flusher>) -> Self {
        Self {
            flusher: Arc::downgrade(flusher),
            flushes: Latency::default(),
        }
    }

    /// How long flushes take.
    #[must_use]
    pub fn flushes(&self) -> &Latency {
        &self.flushes
    }
}

#[derive(Debug)]
struct State {
    replica: Replica<Ack>,
    storage: Storage,
    /// Since when a flusher's thread works on the files of the log.
    flushing: Option<Instant>,
    /// The log is going to be taken out: no further flush begins.
    ending: bool,
    /// Fetches of consumers: woken by the high watermark.
    waiters: FetchWaiters,
    /// Sessions of followers: told of all that they should hear of.
    feeds: Feeds,
    /// What those were sent last.
    refetched: Refetched,
    /// Fetches up to the log end outside of such sessions: woken by appends.
    log_end_waiters: FetchWaiters,
    /// Those who wait until records are deleted on all live replicas, looked at when a follower says where it starts.
    low_watermark_waiters: FetchWaiters,
    /// Bytes appended since the process started: says how much a fetch gains when the high watermark moves.
    appended_bytes: u64,
    /// `appended_bytes` when the high watermark was last at the log end.
    announced_bytes: u64,
    /// When cached writes were first seen to wait for `flush.ms`.
    unflushed_since: Option<Duration>,
    /// Whoever waits until the log is on disk.
    flush_awaited: Option<FlushAwaited>,
    /// The coordinator that opened this partition as its shard: older ones may not append any more.
    shard_owner: ShardOwner,
    /// Nothing is appended for now: the leadership is about to move.
    handing_over: Option<HandingOver>,
}

/// A hand-over that began.
#[derive(Clone, Copy, Debug)]
struct HandingOver {
    /// The question of the controller that it began with.
    question: i64,
    /// It ends with this epoch,
    leader_epoch: LeaderEpoch,
    /// or then at the latest.
    until: Instant,
}

#[derive(Debug)]
enum Storage {
    Online(Box<Log>),
    /// The disk failed, or the log is corrupt or cannot be read or written; why is in the log of the process.
    Failed {
        /// The disk is as good as any: the replica may be copied from its leader again.
        repairable: bool,
    },
    /// Deleted or moved away.
    Gone,
}

/// The leader that a client should turn to instead (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// Where a partition stands, for metrics and for questions that are not about records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionEnds {
    /// First offset that may be read.
    pub log_start: Offset,
    /// Offset after the last record.
    pub log_end: Offset,
    /// Offset up to which consumers read.
    pub high_watermark: Offset,
    /// Bytes on disk.
    pub size: u64,
}

impl Partition {
    /// A partition that leads nothing yet, with the log that recovery found or an empty one. `high_watermark` is what the
    /// checkpoint remembers.
    #[must_use]
    pub fn new(
        node: NodeId,
        topic: Arc<TopicState>,
        index: PartitionIndex,
        log: Log,
        high_watermark: Offset,
        disk: Arc<Disk>,
        reports: Arc<Reports>,
    ) -> Self {
        let config = topic.settings().replica;
        let replica = Replica::new(node, config, lifecycle::ends(&log), high_watermark);
        let state = State {
            replica,
            storage: Storage::Online(Box::new(log)),
            flushing: None,
            ending: false,
            waiters: FetchWaiters::default(),
            feeds: Feeds::default(),
            refetched: Refetched::default(),
            log_end_waiters: FetchWaiters::default(),
            low_watermark_waiters: FetchWaiters::default(),
            appended_bytes: 0,
            announced_bytes: 0,
            unflushed_since: None,
            flush_awaited: None,
            shard_owner: ShardOwner::default(),
            handing_over: None,
        };
        Self {
            topic,
            index,
            disk,
            reports,
            flush_slot: FlushSlot::default(),
            state: Mutex::new(state),
            flush_over: Condvar::new(),
            traced: TracedAppends::default(),
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Arc<TopicState> {
        &self.topic
    }

    /// The partition's number.
    #[must_use]
    pub fn index(&self) -> PartitionIndex {
        self.index
    }

    /// Which partition it is.
    #[must_use]
    pub fn key(&self) -> TopicPartition {
        TopicPartition {
            topic_id: self.topic.id(),
            partition: self.index,
        }
    }

    /// Where the partition stands; `None` when its storage failed or is gone.
    #[must_use]
    pub fn ends(&self) -> Option<PartitionEnds> {
        let state = self.state.lock();
        let log = state.log().ok()?;
        Some(PartitionEnds {
            log_start: log.log_start(),
            log_end: log.log_end(),
            high_watermark: state.replica.high_watermark(),
            size: log.size(),
        })
    }

    /// The leader and its epoch as this replica knows them.
    #[must_use]
    pub fn leader_hint(&self) -> LeaderHint {
        let state = self.state.lock();
        LeaderHint {
            leader: state.replica.leader(),
            epoch: state.replica.leader_epoch(),
        }
    }

    /// True while this replica leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.state.lock().replica.is_leader()
    }

    /// First offset of the log; `None` when its storage failed or is gone.
    #[must_use]
    pub fn log_start(&self) -> Option<Offset> {
        self.state.lock().log().ok().map(Log::log_start)
    }

    /// Has the way of an append that ends at `end` followed in a trace.
    pub fn trace_append(&self, trace: &Trace, end: Offset) {
        let state = self.state.lock();
        self.traced.add(trace, end);
        // What has happened since the append is not told again.
        if let Ok(log) = state.log() {
            self.traced.flushed(log.flushed_end());
        }
        self.traced.committed(state.replica.high_watermark());
    }

    /// True if the log is damaged, or a file of it, on a disk that is not: a new copy may take its place.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        matches!(self.state.lock().storage, Storage::Failed { repairable: true })
    }

    /// Looks at the replica, for metrics.
    pub fn inspect<R>(&self, look: impl FnOnce(&Replica<Ack>) -> R) -> R {
        look(&self.state.lock().replica)
    }

    /// Carries out what a step of the replica led to, after the lock is released.
    fn carry_out(&self, state: MutexGuard<'_, State>, effects: Effects<Ack>) {
        self.carry_out_of(state, effects, None);
    }

    /// The same for what a follower's fetch led to: its own session sees it in the answer.
    fn carry_out_of(&self, mut state: MutexGuard<'_, State>, effects: Effects<Ack>, session: Option<&Arc<Feed>>) {
        let Effects {
            completed,
            high_watermark_moved,
            proposal,
        } = effects;
        // The proposal stays in the replica until it is answered; whoever talks to the controller finds it there.
        if proposal.is_some() {
            self.reports.proposal(self.key());
        }
        let woken = if high_watermark_moved {
            self.traced.committed(state.replica.high_watermark());
            state.feeds.high_watermark_moved(session);
            state.wake_fetches()
        } else {
            SmallVec::new()
        };
        drop(state);
        complete(completed);
        for waiter in woken {
            waiter.wake();
        }
    }
}

fn complete(completed: SmallVec<[Completed<Ack>; 4]>) {
    for Completed { ack, result } in completed {
        ack.complete(result);
    }
}

impl State {
    fn log(&self) -> Result<&Log, ErrorCode> {
        match &self.storage {
            Storage::Online(log) => Ok(log),
            Storage::Failed { .. } => Err(ErrorCode::KafkaStorageError),
            Storage::Gone => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Whoever comes to a replica that is offline hears of that first, as in Kafka: it leads nothing any more.
    fn check_online(&self) -> Result<(), ErrorCode> {
        match self.storage {
            Storage::Failed { .. } => Err(ErrorCode::KafkaStorageError),
            Storage::Online(_) | Storage::Gone => Ok(()),
        }
    }

    fn log_mut(&mut self) -> Result<&mut Log, ErrorCode> {
        match &mut self.storage {
            Storage::Online(log) => Ok(log),
            Storage::Failed { .. } => Err(ErrorCode::KafkaStorageError),
            Storage::Gone => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// The storage cannot be used any more. What that decides, and who waits here.
    fn fail(&mut self, repairable: bool) -> (Effects<Ack>, Vec<Arc<FetchWaiter>>) {
        if matches!(self.storage, Storage::Online(_)) {
            self.storage = Storage::Failed { repairable };
        }
        let effects = self.replica.stop(AckError::Storage);
        self.flush_awaited = None;
        (effects, self.take_waiters())
    }

    /// All fetches that wait here: something happened that they have to look at.
    fn take_waiters(&mut self) -> Vec<Arc<FetchWaiter>> {
        self.feeds.news();
        let mut waiters = self.waiters.take_all();
        waiters.extend(self.log_end_waiters.take_all());
        waiters.extend(self.low_watermark_waiters.take_all());
        waiters
    }

    /// The fetches that may have what they wait for now that the high watermark moved. What was appended above it counts
    /// too, as long as some of it is not visible: a fetch that is woken too early waits again, one that is not woken
    /// would wait for nothing.
    fn wake_fetches(&mut self) -> SmallVec<[Arc<FetchWaiter>; 4]> {
        let grown = self.appended_bytes - self.announced_bytes;
        if self.replica.high_watermark() >= self.replica.log().end {
            self.announced_bytes = self.appended_bytes;
        }
        self.waiters.grown(if grown == 0 { u64::MAX } else { grown })
    }
}

/// Kafka's error code for why an acknowledgement will not come. By id, a deleted topic is another error.
#[must_use]
pub fn ack_error_code(error: AckError, by_topic_id: bool) -> ErrorCode {
    match error {
        AckError::NotLeader => ErrorCode::NotLeaderOrFollower,
        AckError::NotEnoughReplicas => ErrorCode::NotEnoughReplicasAfterAppend,
        AckError::Deleted if by_topic_id => ErrorCode::UnknownTopicId,
        AckError::Deleted => ErrorCode::UnknownTopicOrPartition,
        AckError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// Kafka's error code for a request to the wrong replica or epoch.
#[must_use]
pub fn leadership_error_code(error: LeadershipError) -> ErrorCode {
    match error {
        LeadershipError::NotLeader => ErrorCode::NotLeaderOrFollower,
        LeadershipError::Fenced => ErrorCode::FencedLeaderEpoch,
        LeadershipError::Unknown => ErrorCode::UnknownLeaderEpoch,
    }
}

/// Kafka's error code for what the log refused.
fn log_error_code(error: &LogError) -> ErrorCode {
    use crate::log::SequenceError;
    match error {
        LogError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        LogError::BatchesTooLarge { .. } => ErrorCode::RecordListTooLarge,
        LogError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        LogError::Sequence(SequenceError::Fenced { .. }) => ErrorCode::InvalidProducerEpoch,
        LogError::EpochFell { .. } | LogError::NotContiguous { .. } => ErrorCode::NotLeaderOrFollower,
        LogError::Records { .. } | LogError::Unreadable { .. } => ErrorCode::CorruptMessage,
        _ => ErrorCode::KafkaStorageError,
    }
}

/// True if the log cannot be used any more after this error.
fn is_fatal(error: &LogError) -> bool {
    match error {
        LogError::DiskFailed { .. } | LogError::Corrupt { .. } => true,
        LogError::Io { .. } => !error.is_disk_full() && !error.is_out_of_files(),
        _ => false,
    }
}
