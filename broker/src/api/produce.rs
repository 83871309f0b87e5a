//! Produce (0). Records are borrowed from the frame from here to the disk; batches are appended when the request is
//! dispatched, so that they lie in the log in the order of arrival.

mod result;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use highwater_node::telemetry::Trace;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};
use highwater_proto::kafka::messages::produce::response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use highwater_proto::kafka::messages::produce::{ProduceRequest, ProduceResponse};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};
use highwater_proto::metadata::{DiskPressure, MetadataImage, Topic};
use highwater_proto::record::{Batch, BatchHeader, TimestampType};
use highwater_proto::types::{Offset, TopicId, is_internal_topic};
use tokio::time::Instant;
use uuid::Uuid;

use super::{RawApi, RawRequest, RequestContext, answer, leader};
use crate::disk_limit::{Room, worst_of_replicas};
use crate::partition::{AckGroup, AckWait, AppendOutcome, Partition, Precheck, ack_error_code};
use crate::records::{Rejection, take_batch, validate};
use crate::replica::AckError;
use crate::reply::{Answer, Pending};

use self::result::PartitionResult;

/// Handler of Produce.
pub(super) struct Produce;

/// What Kafka's admin clients call themselves in request headers.
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// Batches whose records have to be read are judged on a blocking thread from this size on.
const LARGE_WORK_BYTES: usize = 16 << 10;
/// From this version on topics are named by id.
const TOPIC_IDS_FROM: i16 = 13;
/// From this version on answers name the leader to turn to.
const LEADER_HINT_FROM: i16 = 10;
/// From this version on answers say what is wrong with which record.
const ERROR_MESSAGES_FROM: i16 = 8;

impl RawApi for Produce {
    const KEY: ApiKey = ApiKey::Produce;
    const VERSIONS: RangeInclusive<i16> = 3..=13;
    const FREES_FRAME: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        let RawRequest {
            context,
            version,
            correlation_id,
            mut body,
        } = request;
        let decoded = ProduceRequest::decode(&mut body, version).ok()?;
        drop(body);
        let call = Call::prepare(context, version, correlation_id, decoded);
        if let Some(pause) = call.throttle {
            // The whole connection pauses: whatever its client does, it writes more slowly.
            return Some(Pending::Parked(Box::pin(async move {
                tokio::time::sleep(pause).await;
                call.carry_out()
            })));
        }
        Some(call.carry_out())
    }
}

/// One request.
struct Call {
    context: RequestContext,
    version: i16,
    correlation_id: i32,
    acks: i16,
    deadline: Instant,
    topics: Vec<(ByteStr, Uuid)>,
    partitions: Vec<Entry>,
    /// What the request waits for.
    group: Option<Arc<AckGroup>>,
    /// Something about it belongs on a blocking thread.
    may_block: bool,
    /// A disk is nearly full: what the request waits before it is carried out.
    throttle: Option<Duration>,
}

/// One partition of a request.
struct Entry {
    /// Position in the request's topics.
    topic: usize,
    index: i32,
    /// What is still to be appended.
    append: Option<(Arc<Partition>, Batch)>,
    result: PartitionResult,
    /// The slot in the request's group.
    slot: Option<usize>,
}

impl Call {
    /// Appends, here or on a blocking thread, and answers.
    fn carry_out(mut self) -> Pending {
        if !self.may_block() {
            self.append();
            return self.answer();
        }
        let permits = Arc::clone(&self.context.broker.limits().slow_appends);
        Pending::Parked(Box::pin(async move {
            let permit = permits.acquire_owned().await;
            let appended = tokio::task::spawn_blocking(move || {
                self.append();
                self
            });
            let outcome = appended.await;
            drop(permit);
            match outcome {
                Ok(call) => call.answer(),
                Err(error) => {
                    tracing::error!(%error, "an append ended without an answer");
                    Pending::Done(Answer::Close)
                }
            }
        }))
    }

    /// All that can be said without writing, in Kafka's order (rule 4).
    fn prepare(context: RequestContext, version: i16, correlation_id: i32, request: ProduceRequest) -> Self {
        let ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            topic_data,
            ..
        } = request;
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        let mut call = Self {
            context,
            version,
            correlation_id,
            acks,
            deadline: Instant::now() + timeout,
            topics: Vec::with_capacity(topic_data.len()),
            partitions: Vec::with_capacity(topic_data.iter().map(|topic| topic.partition_data.len()).sum()),
            group: (acks == -1).then(AckGroup::new),
            may_block: false,
            throttle: None,
        };
        let unauthorized = transactional_id.is_none() && topic_data.iter().any(has_transactional_batch);
        let image = call.context.broker.image();
        for TopicProduceData {
            name,
            topic_id,
            partition_data,
            ..
        } in topic_data
        {
            let topic = match version {
                TOPIC_IDS_FROM.. => image.topic_by_id(TopicId(topic_id)).ok_or(ErrorCode::UnknownTopicId),
                _ => image.topic(&name).ok_or(ErrorCode::UnknownTopicOrPartition),
            };
            let first = call.partitions.len();
            for PartitionProduceData { index, records, .. } in partition_data {
                let checked = match topic {
                    _ if unauthorized => Err(ErrorCode::TransactionalIdAuthorizationFailed.into()),
                    Ok(topic) => call.check(topic, index, records.as_ref()),
                    Err(error) => Err(error.into()),
                };
                let (append, result) = match checked {
                    Ok(append) => (Some(append), ErrorCode::None.into()),
                    Err(result) => (None, result),
                };
                call.partitions.push(Entry {
                    topic: call.topics.len(),
                    index,
                    append,
                    result,
                    slot: None,
                });
            }
            // The answer must not hold on to the frame while it waits.
            let known = call.partitions[first..].iter().find_map(|entry| entry.append.as_ref());
            let name = known.map_or_else(|| name.detached(), |(partition, _)| partition.topic().name().clone());
            call.topics.push((name, topic_id));
        }
        call
    }

    fn check(
        &mut self,
        topic: &Topic,
        index: i32,
        records: Option<&Bytes>,
    ) -> Result<(Arc<Partition>, Batch), PartitionResult> {
        if !usize::try_from(index).is_ok_and(|index| index < topic.partitions.len()) {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let batch = take_batch(records, self.version)?;
        if batch.header.is_transactional() {
            // No transaction can have been begun: its coordinator does not exist yet.
            return Err(ErrorCode::InvalidTxnState.into());
        }
        if !matches!(self.acks, -1..=1) {
            return Err(ErrorCode::InvalidRequiredAcks.into());
        }
        if is_internal_topic(&topic.name) && !self.is_admin_client() {
            return Err(ErrorCode::InvalidTopicException.into());
        }
        let partition = self.context.broker.partitions().find(topic, index)?;
        let settings = partition.topic().settings();
        let rules = &settings.rules;
        let now = self.context.broker.clock().now_ms();
        let newest = match rules.timestamp_type {
            TimestampType::CreateTime => batch.header.max_timestamp,
            TimestampType::LogAppendTime => now,
        };
        let precheck = partition.precheck_append(self.acks == -1, batch.size(), newest, now)?;
        // Only now: where this broker does not lead, its disks are nobody's business.
        self.check_disks(topic, index)?;
        self.may_block |= precheck == Precheck::CreatesFiles
            || (batch.size() >= LARGE_WORK_BYTES && rules.read_records_of(&batch.header));
        Ok((partition, batch))
    }

    /// Slows the request down, or refuses the partition, if a disk that holds it has little room.
    fn check_disks(&mut self, topic: &Topic, index: i32) -> Result<(), PartitionResult> {
        let broker = &self.context.broker;
        let own = (broker.disk().room(), Some(broker.node_id()));
        let partition = usize::try_from(index)
            .ok()
            .and_then(|index| topic.partitions.get(index));
        let others = match partition {
            Some(partition) if broker.cluster_disk_pressure() != DiskPressure::None => {
                worst_of_replicas(&broker.image(), partition)
            }
            _ => (Room::Enough, None),
        };
        let (room, node) = if others.0 > own.0 { others } else { own };
        match room {
            Room::Enough => {}
            Room::Little(delay) => self.throttle = self.throttle.max(Some(delay)),
            Room::None => return Err(Rejection::DiskFull(node.unwrap_or(broker.node_id())).into()),
        }
        Ok(())
    }

    /// Kafka lets clients of this name write to internal topics.
    fn is_admin_client(&self) -> bool {
        self.context.client_id.as_deref() == Some(ADMIN_CLIENT_ID)
    }

    /// True if the request should not be carried out on a network worker.
    fn may_block(&self) -> bool {
        self.may_block || self.context.broker.partitions().is_disk_stalled()
    }

    /// Validates and appends what is left to append.
    fn append(&mut self) {
        let now = self.context.broker.clock().now_ms();
        for entry in &mut self.partitions {
            let Some((partition, batch)) = entry.append.take() else {
                continue;
            };
            let (size, records) = (batch.size() as u64, batch.header.record_count);
            let batch = match validate(batch, &partition.topic().settings().rules, now) {
                Ok(batch) => batch,
                Err(rejection) => {
                    let log_start = if rejection.is_about_records() {
                        partition.log_start()
                    } else {
                        None
                    };
                    entry.result = rejection.into();
                    entry.result.log_start = log_start.map_or(-1, Offset::get);
                    continue;
                }
            };
            if is_internal_topic(partition.topic().name()) {
                // Looked at as Kafka looks at it, and not written: only a shard's owner writes to its partition.
                entry.result = ErrorCode::InvalidTopicException.into();
                continue;
            }
            let began = self.context.trace.as_ref().map(|_| SystemTime::now());
            match partition.append(&batch, self.group.as_ref(), now) {
                Ok(outcome) => {
                    let records = u64::try_from(records).unwrap_or(0);
                    partition.topic().metrics().produced(size, records);
                    self.context.broker.metrics().all_topics().produced(size, records);
                    self.context.broker.disk().appended(size);
                    if let Some(trace) = &self.context.trace {
                        append_traced(trace, partition.topic().name(), entry.index, &outcome, size, began);
                        partition.trace_append(trace, outcome.end_offset);
                    }
                    entry.slot = outcome.slot;
                    entry.result = PartitionResult {
                        error: ErrorCode::None,
                        base_offset: outcome.base_offset.get(),
                        log_append_time: outcome.log_append_time.map_or(-1, |time| time.get()),
                        log_start: outcome.log_start.get(),
                        rejection: None,
                    };
                }
                Err(error) => entry.result = error.into(),
            }
        }
    }

    /// Answers, at once if nothing is waited for.
    fn answer(mut self) -> Pending {
        if self.acks == 0 {
            let failed = self
                .partitions
                .iter()
                .any(|entry| entry.result.error != ErrorCode::None);
            // The only way to tell a client that does not listen to look for the leader again.
            return Pending::Done(if failed { Answer::Close } else { Answer::Nothing });
        }
        match self.group.take() {
            Some(group) if !group.is_decided() => {
                let wait = AckWait(group);
                Pending::Later(Box::pin(async move {
                    let decided = wait.0.decided(self.deadline).await;
                    self.acknowledge(&decided);
                    self.reply()
                }))
            }
            Some(group) => {
                self.acknowledge(&group.results());
                Pending::Done(self.reply())
            }
            None => Pending::Done(self.reply()),
        }
    }

    /// Puts the outcome of the wait into the results. The base offset stays: the records are in the log (rule 13).
    fn acknowledge(&mut self, decided: &[Option<Result<(), AckError>>]) {
        let by_id = self.version >= TOPIC_IDS_FROM;
        for entry in &mut self.partitions {
            let Some(slot) = entry.slot else { continue };
            entry.result.error = match decided.get(slot).copied().flatten() {
                Some(Ok(())) => ErrorCode::None,
                Some(Err(error)) => ack_error_code(error, by_id),
                None => ErrorCode::RequestTimedOut,
            };
        }
    }

    fn reply(&self) -> Answer {
        let _replying = self.context.trace.as_ref().map(|trace| trace.child("reply"));
        let image = self.context.broker.image();
        let mut response = ProduceResponse::default();
        for entry in &self.partitions {
            let (name, topic_id) = &self.topics[entry.topic];
            if entry.result.error != ErrorCode::None {
                self.count_failure(&image, name, *topic_id);
            }
            let mut partition = entry.response(self.version);
            if entry.result.error == ErrorCode::NotLeaderOrFollower && self.version >= LEADER_HINT_FROM {
                self.add_leader_hint(&image, entry, &mut partition, &mut response);
            }
            match response.responses.last_mut() {
                Some(topic) if topic.name == *name && topic.topic_id == *topic_id => {
                    topic.partition_responses.push(partition);
                }
                _ => response.responses.push(TopicProduceResponse {
                    name: name.clone(),
                    topic_id: *topic_id,
                    partition_responses: vec![partition],
                    ..Default::default()
                }),
            }
        }
        answer(
            &self.context,
            ApiKey::Produce,
            self.version,
            self.correlation_id,
            &response,
        )
    }

    fn count_failure(&self, image: &MetadataImage, name: &str, topic_id: Uuid) {
        let broker = &self.context.broker;
        broker.metrics().all_topics().produce_failed();
        let topic = image.topic_by_id(TopicId(topic_id)).or_else(|| image.topic(name));
        if let Some(state) = topic.and_then(|topic| broker.partitions().topic_state(topic.id)) {
            state.metrics().produce_failed();
        }
    }

    fn add_leader_hint(
        &self,
        image: &MetadataImage,
        entry: &Entry,
        partition: &mut PartitionProduceResponse,
        response: &mut ProduceResponse,
    ) {
        let (name, topic_id) = &self.topics[entry.topic];
        let topic = image.topic_by_id(TopicId(*topic_id)).or_else(|| image.topic(name));
        let Some(hint) = topic.and_then(|topic| leader::hint(image, topic, entry.index, &self.context.client)) else {
            return;
        };
        partition.current_leader = LeaderIdAndEpoch {
            leader_id: hint.id,
            leader_epoch: hint.epoch,
            ..Default::default()
        };
        if !response.node_endpoints.iter().any(|node| node.node_id == hint.id) {
            response.node_endpoints.push(NodeEndpoint {
                node_id: hint.id,
                host: hint.host,
                port: hint.port,
                rack: hint.rack,
                ..Default::default()
            });
        }
    }
}

impl Entry {
    fn response(&self, version: i16) -> PartitionProduceResponse {
        let result = &self.result;
        let mut response = PartitionProduceResponse {
            index: self.index,
            error_code: result.error.code(),
            base_offset: result.base_offset,
            log_append_time_ms: result.log_append_time,
            log_start_offset: result.log_start,
            ..Default::default()
        };
        if let Some(rejection) = &result.rejection
            && version >= ERROR_MESSAGES_FROM
        {
            response.error_message = Some(rejection.to_string().into());
            response.record_errors = rejection
                .record_faults()
                .iter()
                .map(|fault| BatchIndexAndErrorMessage {
                    batch_index: fault.index,
                    batch_index_error_message: Some(fault.kind.to_string().into()),
                    ..Default::default()
                })
                .collect();
        }
        response
    }
}

fn append_traced(
    trace: &Trace,
    topic: &str,
    partition: i32,
    outcome: &AppendOutcome,
    size: u64,
    began: Option<SystemTime>,
) {
    trace.was(
        "append",
        began.unwrap_or_else(SystemTime::now),
        [
            ("messaging.destination.name", topic.to_owned().into()),
            ("messaging.destination.partition.id", i64::from(partition).into()),
            ("messaging.kafka.offset", outcome.base_offset.get().into()),
            (
                "messaging.message.body.size",
                i64::try_from(size).unwrap_or(i64::MAX).into(),
            ),
        ],
    );
}

fn has_transactional_batch(topic: &TopicProduceData) -> bool {
    topic.partition_data.iter().any(|partition| {
        let header = partition
            .records
            .as_ref()
            .and_then(|records| BatchHeader::parse(records).ok());
        header.is_some_and(|header| header.is_transactional())
    })
}
