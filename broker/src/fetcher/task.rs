//! The task that copies from one leader.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_node::session::Backoff;
use highwater_proto::config::ReplicationConfig;
use highwater_proto::kafka::messages::fetch::request::ReplicaState;
use highwater_proto::kafka::messages::fetch::{FetchRequest, FetchResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::{Offset, TopicPartition};
use tokio::time::Instant;

use super::Inbox;
use super::answer::Step;
use super::connection::{Connection, ConnectionError};
use super::session::{self, FetchSession};
use crate::broker::Broker;
use crate::partition::{FetchPoint, FlushGroup, FollowError, Following, Partition};
use crate::throttle::Side;

/// The version with sessions, topic ids, replica state, directory ids and known high watermarks.
pub(super) const FETCH_VERSION: i16 = 18;
/// A follower from which nobody reads hears of the high watermark with the next records.
const NO_HIGH_WATERMARK: Offset = Offset(i64::MAX);
/// First rest after a failure; it doubles up to `replica.fetch.backoff.ms`. Short: after an election the new leader may
/// have the image a moment later.
const FIRST_REST: Duration = Duration::from_millis(5);
/// So many answers in a row that cannot be used, and the partition rests for [`LONG_REST`].
const MAX_FAILURES: u32 = 16;
const LONG_REST: Duration = Duration::from_secs(30);
/// A partition that is not flushed in this time does not hold up the others any longer.
const FLUSH_WAIT: Duration = Duration::from_millis(500);
/// Bytes appended after which other tasks of the thread get their turn.
const BYTES_PER_TURN: usize = 512 << 10;
/// Beyond the time for which it may wait for data, a leader answers within this.
const LATE_ANSWER: Duration = Duration::from_secs(5);
/// What an answer may take beyond its batches.
const ANSWER_OVERHEAD: usize = 32 << 20;

/// Why a round with the leader failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("the metadata name no address of it on listener {0}")]
    NoEndpoint(Arc<str>),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("it answers with error {0}")]
    Refused(ErrorCode),
    #[error("a blocking task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

#[derive(Debug)]
pub(super) struct Followed {
    pub(super) partition: Arc<Partition>,
    /// Failures in a row.
    failures: u32,
    resting_until: Option<Instant>,
}

pub(super) struct Fetcher {
    pub(super) broker: Arc<Broker>,
    pub(super) inbox: Arc<Inbox>,
    client_id: ByteStr,
    pub(super) session: FetchSession,
    pub(super) followed: HashMap<TopicPartition, Followed, foldhash::fast::RandomState>,
    resting: BTreeSet<(Instant, TopicPartition)>,
    pub(super) connection: Option<Connection>,
    /// Requests on it that are not answered yet.
    pub(super) in_flight: u32,
    /// The leader had no room for a session.
    sessionless: bool,
    backoff: Backoff,
    /// Failed rounds in a row: the first is worth a line in the log.
    failures: u32,
}

impl Fetcher {
    pub(super) fn new(broker: Arc<Broker>, inbox: Arc<Inbox>) -> Self {
        let backoff = Backoff::new(FIRST_REST, config(&broker).fetch_backoff.max(FIRST_REST));
        Self {
            client_id: ByteStr::from(format!("broker-{}-fetcher-{}", broker.node_id(), inbox.leader).as_str()),
            broker,
            inbox,
            session: FetchSession::default(),
            followed: HashMap::default(),
            resting: BTreeSet::new(),
            connection: None,
            in_flight: 0,
            sessionless: false,
            backoff,
            failures: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let shutdown = self.broker.shutdown().clone();
        tokio::select! {
            () = shutdown.triggered() => {}
            () = self.fetch_for_ever() => {}
        }
    }

    async fn fetch_for_ever(&mut self) {
        loop {
            self.look_at_inbox();
            self.end_rests();
            if self.session.is_empty() {
                self.wait_for_partitions().await;
                continue;
            }
            match self.round().await {
                Ok(()) => {
                    self.backoff.reset();
                    self.failures = 0;
                }
                Err(error) => self.round_failed(&error).await,
            }
        }
    }

    async fn wait_for_partitions(&mut self) {
        if self.followed.is_empty() {
            self.connection = None;
            self.session.restart();
        }
        let rest = self.resting.first().map(|(until, _)| *until);
        let inbox = Arc::clone(&self.inbox);
        match rest {
            None => inbox.some.notified().await,
            Some(until) => tokio::select! {
                () = inbox.some.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            },
        }
    }

    async fn round_failed(&mut self, error: &RoundError) {
        let leader = self.inbox.leader;
        if self.failures == 0 {
            tracing::warn!(%leader, %error, partitions = self.session.len(), "cannot fetch from the leader; trying again");
        } else {
            tracing::debug!(%leader, %error, "cannot fetch from the leader");
        }
        self.failures = self.failures.saturating_add(1);
        self.connection = None;
        self.session.restart();
        let inbox = Arc::clone(&self.inbox);
        tokio::select! {
            () = tokio::time::sleep(self.backoff.pause()) => {}
            // Perhaps they are led by another broker now.
            () = inbox.some.notified() => {}
        }
    }

    fn look_at_inbox(&mut self) {
        for key in self.inbox.take() {
            let partition = self.broker.partitions().get(key.topic_id, key.partition);
            match partition.filter(|partition| partition.follows() == Some(self.inbox.leader)) {
                None => self.leave(key),
                Some(partition) => {
                    self.wake(key);
                    // The object may be another one: a replica that was deleted and came back.
                    self.followed.insert(
                        key,
                        Followed {
                            partition,
                            failures: 0,
                            resting_until: None,
                        },
                    );
                    self.refresh(key);
                }
            }
        }
    }

    fn leave(&mut self, key: TopicPartition) {
        self.wake(key);
        self.followed.remove(&key);
        self.session.remove(key);
    }

    fn wake(&mut self, key: TopicPartition) {
        let resting = self.followed.get_mut(&key).and_then(|it| it.resting_until.take());
        if let Some(until) = resting {
            self.resting.remove(&(until, key));
            self.count_resting();
        }
    }

    fn end_rests(&mut self) {
        let now = Instant::now();
        while let Some((until, key)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, key));
            if let Some(followed) = self.followed.get_mut(&key) {
                followed.resting_until = None;
            }
            self.refresh(key);
        }
        self.count_resting();
    }

    fn count_resting(&self) {
        self.inbox
            .figures
            .resting
            .store(self.resting.len() as u64, Ordering::Relaxed);
    }

    /// Fetches the partition no longer for a while.
    fn rest(&mut self, key: TopicPartition, pause: Duration) {
        self.session.remove(key);
        self.wake(key);
        let Some(followed) = self.followed.get_mut(&key) else {
            return;
        };
        let until = Instant::now() + pause;
        followed.resting_until = Some(until);
        self.resting.insert((until, key));
        self.count_resting();
    }

    /// Something was wrong with the partition: it rests longer each time. Others are not held up.
    pub(super) fn failed(&mut self, key: TopicPartition) {
        let limit = config(&self.broker).fetch_backoff.max(FIRST_REST);
        let Some(followed) = self.followed.get_mut(&key) else {
            return;
        };
        followed.failures = followed.failures.saturating_add(1);
        let pause = if followed.failures > MAX_FAILURES {
            LONG_REST
        } else {
            (FIRST_REST * 2_u32.saturating_pow(followed.failures - 1)).min(limit)
        };
        self.rest(key, pause);
    }

    /// Fetches the partition from where its log ends now, if all of that is on disk.
    fn refresh(&mut self, key: TopicPartition) {
        let Some(followed) = self.followed.get(&key) else {
            return;
        };
        match followed.partition.following() {
            Following::Ready(point) if point.leader == self.inbox.leader => {
                if let Some(wait) = self.throttled(&key).filter(|wait| !wait.is_zero()) {
                    self.rest(key, wait);
                    return;
                }
                let high_watermark = if config(&self.broker).rack_aware {
                    point.high_watermark
                } else {
                    NO_HIGH_WATERMARK
                };
                self.session.put(
                    key,
                    FetchPoint {
                        high_watermark,
                        ..point
                    },
                );
            }
            Following::Unflushed => {
                followed.partition.await_flushed(&FlushGroup::new());
                self.rest(key, FIRST_REST);
            }
            // An image says so, or the storage failed: the inbox has it, or will.
            Following::Ready(_) | Following::Not => self.leave(key),
        }
    }

    /// How long the partition has to wait, if it is throttled and this replica is not in sync.
    fn throttled(&self, key: &TopicPartition) -> Option<Duration> {
        let (broker, now) = (&self.broker, self.broker.clock().now());
        let (throttles, fixed) = (broker.throttles(), broker.static_values());
        throttles.wait(Side::Follower, &broker.image(), fixed, key, broker.node_id(), now)
    }

    pub(super) async fn connect(&mut self) -> Result<Connection, RoundError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let listener = self.broker.inter_broker_listener();
        let image = self.broker.image();
        let node = image.node(self.inbox.leader);
        let endpoint = node.and_then(|node| node.endpoint(listener));
        let endpoint = endpoint.ok_or_else(|| RoundError::NoEndpoint(Arc::clone(listener)))?;
        let max_answer = self.broker.limits().max_request_bytes + ANSWER_OVERHEAD;
        self.session.restart();
        self.in_flight = 0;
        Ok(Connection::open(&endpoint.host, endpoint.port, &self.client_id, max_answer).await?)
    }

    /// One answer, and what follows from it. While the leader waits for data on our behalf, a change of what is fetched is
    /// sent behind, which ends that wait.
    async fn round(&mut self) -> Result<(), RoundError> {
        let mut connection = self.connect().await?;
        let limit = answer_limit(&self.broker);
        let deadline = Instant::now() + limit;
        let inbox = Arc::clone(&self.inbox);
        let response = loop {
            if self.in_flight == 0 || self.in_flight == 1 && self.session.has_news() {
                let request = self.request();
                connection.send(FETCH_VERSION, &request).await?;
                self.in_flight += 1;
            }
            tokio::select! {
                response = connection.receive::<FetchRequest>(FETCH_VERSION) => break response?,
                () = tokio::time::sleep_until(deadline) => {
                    return Err(ConnectionError::Timeout(limit).into());
                }
                () = inbox.some.notified(), if self.in_flight == 1 => self.look_at_inbox(),
            }
        };
        self.in_flight -= 1;
        self.connection = Some(connection);
        self.take_answer(response).await
    }

    fn request(&mut self) -> FetchRequest {
        let config = config(&self.broker);
        let session = self.session.request(config.fetch_max_bytes);
        // Whoever rests goes on in time, also when the others have nothing to fetch.
        let rest = self
            .resting
            .first()
            .map(|(until, _)| until.saturating_duration_since(Instant::now()));
        let wait = match rest {
            // So that there soon is a session that changes can be told to.
            _ if self.session.is_new() && !self.sessionless => Duration::ZERO,
            Some(rest) => rest.min(config.fetch_max_wait),
            None => config.fetch_max_wait,
        };
        FetchRequest {
            replica_state: ReplicaState {
                replica_id: self.broker.node_id().get(),
                replica_epoch: self.broker.epoch().get(),
                ..Default::default()
            },
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_response_max_bytes,
            session_id: session.id,
            session_epoch: session.epoch,
            topics: session.topics,
            forgotten_topics_data: session.forgotten,
            ..Default::default()
        }
    }

    async fn take_answer(&mut self, response: FetchResponse) -> Result<(), RoundError> {
        let error = ErrorCode::from_code(response.error_code);
        self.inbox.figures.answers.fetch_add(1, Ordering::Relaxed);
        if !self.session.answered(error, response.session_id) {
            let session_lost = matches!(
                error,
                ErrorCode::FetchSessionIdNotFound
                    | ErrorCode::InvalidFetchSessionEpoch
                    | ErrorCode::FetchSessionTopicIdError
            );
            return if session_lost {
                Ok(())
            } else {
                Err(RoundError::Refused(error))
            };
        }
        self.sessionless = self.session.is_new();
        let (mut steps, mut out_of_range) = (Vec::new(), Vec::new());
        for topic in response.responses {
            for data in topic.partitions {
                let key = session::key(topic.topic_id, data.partition_index);
                let (Some(followed), Some((asked, is_current))) = (self.followed.get(&key), self.session.point(key))
                else {
                    continue;
                };
                if !is_current {
                    // It is asked for from elsewhere by now.
                    continue;
                }
                match ErrorCode::from_code(data.error_code) {
                    ErrorCode::None => match Step::new(key, Arc::clone(&followed.partition), asked, data) {
                        Ok(step) => steps.push(step),
                        Err(error) => self.answer_unusable(key, &error),
                    },
                    ErrorCode::OffsetOutOfRange => out_of_range.push((key, asked)),
                    error => {
                        tracing::debug!(leader = %self.inbox.leader, topic = %key.topic_id, partition = %key.partition, %error,
                            "the leader refuses to be fetched from");
                        self.failed(key);
                    }
                }
            }
        }
        let lag = steps.iter().map(Step::lag).max().unwrap_or(0);
        self.inbox.figures.max_lag.store(lag, Ordering::Relaxed);
        let mut touched = self.carry_out(steps).await?;
        if !out_of_range.is_empty() {
            touched.extend(self.fit_into_leaders_logs(out_of_range).await?);
        }
        self.flush(touched).await;
        Ok(())
    }

    /// Appends and cuts; the partitions whose logs are other ones now.
    async fn carry_out(&mut self, steps: Vec<Step>) -> Result<Vec<TopicPartition>, RoundError> {
        let now = self.broker.clock().now_ms();
        let slow = self.broker.partitions().is_disk_stalled() || steps.iter().any(|step| step.is_slow(now));
        let mut touched = Vec::with_capacity(steps.len());
        let mut results = Vec::with_capacity(steps.len());
        if slow {
            results = tokio::task::spawn_blocking(move || {
                let run = |step: Step| (step.key, step.bytes(), step.run(now));
                steps.into_iter().map(run).collect()
            })
            .await?;
        } else {
            let mut bytes = 0;
            for step in steps {
                bytes += step.bytes();
                results.push((step.key, step.bytes(), step.run(now)));
                if bytes >= BYTES_PER_TURN {
                    bytes = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        let mut copied = 0;
        for (key, bytes, result) in results {
            match result {
                Ok(()) => {
                    copied += bytes as u64;
                    if self.throttled(&key).is_some() {
                        self.broker.throttles().copied(Side::Follower, bytes as u64);
                    }
                    if let Some(followed) = self.followed.get_mut(&key) {
                        followed.failures = 0;
                    }
                    touched.push(key);
                }
                Err(FollowError::Outdated) => touched.push(key),
                Err(error) => self.answer_unusable(key, &error),
            }
        }
        self.inbox.figures.bytes.fetch_add(copied, Ordering::Relaxed);
        Ok(touched)
    }

    pub(super) fn answer_unusable(&mut self, key: TopicPartition, error: &FollowError) {
        let Some(followed) = self.followed.get(&key) else {
            return;
        };
        let (topic, partition) = (followed.partition.topic().name(), key.partition);
        if followed.failures == 0 {
            tracing::warn!(leader = %self.inbox.leader, %topic, %partition, %error, "cannot use what the leader sent; asking again");
        }
        self.failed(key);
    }

    /// Has all partitions of an answer flushed in one go, and fetches them again from there.
    async fn flush(&mut self, touched: Vec<TopicPartition>) {
        let group = FlushGroup::new();
        let mut waits = false;
        for key in &touched {
            if let Some(followed) = self.followed.get(key) {
                waits |= followed.partition.await_flushed(&group);
            }
        }
        if waits {
            group.wait(FLUSH_WAIT).await;
        }
        for key in touched {
            self.refresh(key);
        }
    }
}

pub(super) fn config(broker: &Broker) -> &ReplicationConfig {
    &broker.config().replication
}

/// How long an answer may take: `replica.socket.timeout.ms`, and not much longer than the leader is asked to wait, because
/// the connection may be one that a network cut has left behind.
pub(super) fn answer_limit(broker: &Broker) -> Duration {
    let config = config(broker);
    config.socket_timeout.min(config.fetch_max_wait + LATE_ANSWER)
}
