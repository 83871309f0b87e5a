//! The Fetch response, written directly: records are file ranges and are never in a struct. A test compares the bytes
//! with those of the generated codec.

use bytes::{BufMut, BytesMut};
use highwater_proto::kafka::{ApiKey, EncodeError, ErrorCode, Writer};
use highwater_proto::types::{NodeId, Offset};

use crate::api::leader::LeaderHint;
use crate::fetch_session::{FetchPartition, SentState, TopicKey};
use crate::log::{EpochEnd, FileSlice};
use crate::partition::{Isolation, ReadOutcome};
use crate::reply::{Answer, FileRange, Reply, ReplyWriter};

/// From this version on all lengths are varints and structs end with tagged fields.
const FLEXIBLE_FROM: i16 = 12;

/// One partition of the response.
#[derive(Debug)]
pub(super) struct PartitionAnswer {
    pub(super) topic: TopicKey,
    pub(super) index: i32,
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable: i64,
    pub(super) log_start: i64,
    /// `None` is null: the reader did not ask for committed records only.
    pub(super) aborted_transactions: Option<Vec<(i64, i64)>>,
    pub(super) diverging: Option<EpochEnd>,
    /// The replica to read from instead.
    pub(super) preferred: Option<NodeId>,
    /// Id and epoch of the leader to turn to.
    pub(super) current_leader: Option<(i32, i32)>,
    pub(super) records: Option<FileSlice>,
}

impl PartitionAnswer {
    pub(super) fn new(wanted: &FetchPartition, read: Result<ReadOutcome, ErrorCode>, isolation: Isolation) -> Self {
        let unknown = Self {
            topic: wanted.topic.clone(),
            index: wanted.index,
            error: ErrorCode::None,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            aborted_transactions: None,
            diverging: None,
            preferred: None,
            current_leader: None,
            records: None,
        };
        match read {
            Err(error) => Self { error, ..unknown },
            Ok(outcome) => {
                let committed_only = isolation == Isolation::ReadCommitted && outcome.diverging.is_none();
                Self {
                    high_watermark: outcome.high_watermark.get(),
                    last_stable: outcome.last_stable.get(),
                    log_start: outcome.log_start.get(),
                    aborted_transactions: committed_only.then(Vec::new),
                    diverging: outcome.diverging,
                    preferred: outcome.preferred,
                    records: outcome.records,
                    ..unknown
                }
            }
        }
    }

    pub(super) fn sent(&self) -> SentState {
        SentState {
            error: self.error,
            high_watermark: self.high_watermark,
            log_start: self.log_start,
            has_records: self.records.is_some(),
            must_send: self.diverging.is_some() || self.preferred.is_some(),
        }
    }
}

/// Encodes the response.
pub(super) fn encode(
    version: i16,
    correlation_id: i32,
    error: ErrorCode,
    session_id: i32,
    partitions: &[PartitionAnswer],
    endpoints: &[LeaderHint],
) -> Answer {
    match write(version, correlation_id, error, session_id, partitions, endpoints) {
        Ok(reply) => Answer::Reply(reply),
        Err(error) => {
            tracing::error!(version, %error, "fetch response cannot be encoded; the connection is closed");
            Answer::Close
        }
    }
}

fn write(
    version: i16,
    correlation_id: i32,
    error: ErrorCode,
    session_id: i32,
    partitions: &[PartitionAnswer],
    endpoints: &[LeaderHint],
) -> Result<Reply, EncodeError> {
    let mut reply = ReplyWriter::new(ApiKey::Fetch, version, correlation_id)?;
    let buf = reply.buffer();
    buf.put_i32(0);
    if version >= 7 {
        buf.put_i16(error.code());
        buf.put_i32(session_id);
    }
    let topics = || partitions.chunk_by(|one, other| one.topic == other.topic);
    put_length(buf, version, topics().count());
    for topic in topics() {
        let buf = reply.buffer();
        match &topic[0].topic {
            TopicKey::Name(name) if version < 13 => writer(buf, version).string(name)?,
            TopicKey::Id(id) if version >= 13 => writer(buf, version).uuid(id.0),
            // The request of this version has named the topic in this way.
            TopicKey::Name(_) => {
                return Err(EncodeError::NotInVersion {
                    field: "topic",
                    version,
                });
            }
            TopicKey::Id(_) => {
                return Err(EncodeError::NotInVersion {
                    field: "topic_id",
                    version,
                });
            }
        }
        put_length(buf, version, topic.len());
        for partition in topic {
            write_partition(&mut reply, version, partition)?;
        }
        writer(reply.buffer(), version).tagged_fields(&[], &[], &mut |_, _| Ok(()))?;
    }
    write_endpoints(reply.buffer(), version, endpoints)?;
    Ok(reply.finish())
}

fn write_partition(reply: &mut ReplyWriter, version: i16, partition: &PartitionAnswer) -> Result<(), EncodeError> {
    let buf = reply.buffer();
    buf.put_i32(partition.index);
    buf.put_i16(partition.error.code());
    buf.put_i64(partition.high_watermark);
    buf.put_i64(partition.last_stable);
    if version >= 5 {
        buf.put_i64(partition.log_start);
    }
    writer(buf, version).nullable_array(partition.aborted_transactions.as_deref(), |w, (producer, first)| {
        w.int64(*producer);
        w.int64(*first);
        w.tagged_fields(&[], &[], &mut |_, _| Ok(()))
    })?;
    if version >= 11 {
        buf.put_i32(partition.preferred.map_or(-1, NodeId::get));
    }
    match &partition.records {
        // As Kafka does: no records are an empty set, never null.
        None => put_length(buf, version, 0),
        Some(slice) => {
            let length = usize::try_from(slice.len).unwrap_or(usize::MAX);
            put_length(buf, version, length);
            reply.put_file(FileRange {
                file: slice.file.clone(),
                position: slice.position,
                length,
            });
        }
    }
    let tags = [
        (0, partition.diverging.is_some()),
        (1, version >= 12 && partition.current_leader.is_some()),
    ];
    writer(reply.buffer(), version).tagged_fields(&[], &tags, &mut |w, tag| {
        match (tag, partition.diverging, partition.current_leader) {
            (
                0,
                Some(EpochEnd {
                    epoch,
                    end: Offset(end),
                }),
                _,
            ) => {
                w.int32(epoch.get());
                w.int64(end);
            }
            (1, _, Some((id, epoch))) => {
                w.int32(id);
                w.int32(epoch);
            }
            _ => {}
        }
        w.tagged_fields(&[], &[], &mut |_, _| Ok(()))
    })
}

fn write_endpoints(buf: &mut BytesMut, version: i16, endpoints: &[LeaderHint]) -> Result<(), EncodeError> {
    let tags = [(0, version >= 16 && !endpoints.is_empty())];
    writer(buf, version).tagged_fields(&[], &tags, &mut |w, _| {
        w.array(endpoints, |w, endpoint| {
            w.int32(endpoint.id);
            w.string(&endpoint.host)?;
            w.int32(endpoint.port);
            w.nullable_string(endpoint.rack.as_ref())?;
            w.tagged_fields(&[], &[], &mut |_, _| Ok(()))
        })
    })
}

fn writer(buf: &mut BytesMut, version: i16) -> Writer<'_> {
    Writer::new(buf, version, version >= FLEXIBLE_FROM)
}

/// The length of an array or of records.
fn put_length(buf: &mut BytesMut, version: i16, length: usize) {
    if version >= FLEXIBLE_FROM {
        // Records of one answer are below `fetch.max.bytes`, far below what the field holds.
        let length = u32::try_from(length).unwrap_or(u32::MAX - 1);
        writer(buf, version).unsigned_varint(length + 1);
    } else {
        buf.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
    }
}
