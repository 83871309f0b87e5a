use std::io::Write as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use highwater_proto::kafka::messages::fetch::FetchResponse;
use highwater_proto::kafka::messages::fetch::response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use highwater_proto::kafka::{ByteStr, ResponseHeader};
use highwater_proto::types::TopicId;
use proptest::prelude::*;
use uuid::Uuid;

use super::leader::LeaderHint;
use super::response::{PartitionAnswer, encode};
use super::*;
use crate::fetch_session::TopicKey;
use crate::log::{EpochEnd, FileSlice};
use crate::reply::Reply;

/// Bytes that records are cut from.
const FILE_BYTES: usize = 4096;

fn file() -> Arc<std::fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    let bytes: Vec<u8> = (0..FILE_BYTES).map(|at| (at * 7 % 251) as u8).collect();
    file.write_all(&bytes).unwrap();
    Arc::new(file)
}

/// The bytes of a reply as they go over the wire.
fn wire_bytes(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = 0;
    for (at, range) in &reply.files {
        bytes.extend_from_slice(&reply.head[from..*at]);
        let slice = FileSlice {
            file: Arc::clone(&range.file),
            position: range.position,
            len: range.length as u64,
        };
        bytes.extend_from_slice(&slice.to_bytes().unwrap());
        from = *at;
    }
    bytes.extend_from_slice(&reply.head[from..]);
    bytes
}

fn partition(file: Arc<std::fs::File>) -> impl Strategy<Value = PartitionAnswer> {
    let numbers = (any::<i64>(), any::<i64>(), any::<i64>());
    let error = prop_oneof![
        Just(ErrorCode::None),
        Just(ErrorCode::NotLeaderOrFollower),
        Just(ErrorCode::UnknownTopicId)
    ];
    let aborted = proptest::option::of(proptest::collection::vec((any::<i64>(), any::<i64>()), 0..3));
    let diverging = proptest::option::of((0..9_i32, any::<i64>()));
    let leader = proptest::option::of((0..9_i32, 0..9_i32));
    let records = proptest::option::of((0..FILE_BYTES as u64 - 400, 1..400_u64));
    (
        0..5_u8,
        any::<i32>(),
        error,
        numbers,
        aborted,
        (diverging, leader, records),
    )
        .prop_map(
            move |(topic, index, error, (high_watermark, last_stable, log_start), aborted_transactions, rest)| {
                let (diverging, current_leader, records) = rest;
                PartitionAnswer {
                    topic: TopicKey::Id(TopicId(Uuid::from_u128(u128::from(topic)))),
                    index,
                    error,
                    high_watermark,
                    last_stable,
                    log_start,
                    aborted_transactions,
                    diverging: diverging.map(|(epoch, end)| EpochEnd {
                        epoch: LeaderEpoch(epoch),
                        end: Offset(end),
                    }),
                    preferred: None,
                    current_leader,
                    records: records.map(|(position, len)| FileSlice {
                        file: Arc::clone(&file),
                        position,
                        len,
                    }),
                }
            },
        )
}

/// What the generated codec would be given.
fn expected(
    version: i16,
    error: ErrorCode,
    session_id: i32,
    answers: &[PartitionAnswer],
    endpoints: &[LeaderHint],
) -> FetchResponse {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for answer in answers {
        let (name, id) = match &answer.topic {
            TopicKey::Name(name) => (name.clone(), Uuid::nil()),
            TopicKey::Id(id) => (ByteStr::from(""), id.0),
        };
        if responses
            .last()
            .is_none_or(|last| last.topic != name || last.topic_id != id)
        {
            responses.push(FetchableTopicResponse {
                topic: name,
                topic_id: id,
                ..Default::default()
            });
        }
        responses
            .last_mut()
            .unwrap()
            .partitions
            .push(expected_partition(version, answer));
    }
    let node = |hint: &LeaderHint| NodeEndpoint {
        node_id: hint.id,
        host: hint.host.clone(),
        port: hint.port,
        rack: hint.rack.clone(),
        ..Default::default()
    };
    FetchResponse {
        error_code: if version >= 7 { error.code() } else { 0 },
        session_id: if version >= 7 { session_id } else { 0 },
        responses,
        node_endpoints: if version >= 16 {
            endpoints.iter().map(node).collect()
        } else {
            Vec::new()
        },
        ..Default::default()
    }
}

fn expected_partition(version: i16, answer: &PartitionAnswer) -> PartitionData {
    let aborted = |(producer_id, first_offset): &(i64, i64)| AbortedTransaction {
        producer_id: *producer_id,
        first_offset: *first_offset,
        ..Default::default()
    };
    PartitionData {
        partition_index: answer.index,
        error_code: answer.error.code(),
        high_watermark: answer.high_watermark,
        last_stable_offset: answer.last_stable,
        log_start_offset: if version >= 5 { answer.log_start } else { -1 },
        diverging_epoch: answer
            .diverging
            .map_or_else(EpochEndOffset::default, |end| EpochEndOffset {
                epoch: end.epoch.get(),
                end_offset: end.end.get(),
                ..Default::default()
            }),
        current_leader: answer
            .current_leader
            .map_or_else(LeaderIdAndEpoch::default, |(leader_id, leader_epoch)| {
                LeaderIdAndEpoch {
                    leader_id,
                    leader_epoch,
                    ..Default::default()
                }
            }),
        aborted_transactions: answer
            .aborted_transactions
            .as_ref()
            .map(|list| list.iter().map(aborted).collect()),
        preferred_read_replica: -1,
        records: Some(
            answer
                .records
                .as_ref()
                .map_or_else(Bytes::new, |records| records.to_bytes().unwrap()),
        ),
        ..Default::default()
    }
}

proptest! {
    /// Our own writer and the generated codec agree on every byte.
    #[test]
    fn the_response_is_what_the_codec_would_write(
        version in 4_i16..=18,
        session_id in any::<i32>(),
        mut answers in proptest::collection::vec(partition(file()), 0..12),
        rack in proptest::option::of("[a-z]{1,5}"),
    ) {
        for answer in &mut answers {
            if version < 13 && let TopicKey::Id(id) = &answer.topic {
                answer.topic = TopicKey::Name(ByteStr::from(format!("topic-{}", id.0.as_u128())));
            }
            if version < 12 {
                answer.diverging = None;
                answer.current_leader = None;
            }
        }
        let endpoints = [LeaderHint { id: 3, epoch: 4, host: "host".into(), port: 9092, rack: rack.map(ByteStr::from) }];
        let endpoints = if version >= 16 { &endpoints[..] } else { &[] };
        let error = ErrorCode::None;
        let Answer::Reply(reply) = encode(version, 77, error, session_id, &answers, endpoints) else {
            panic!("not encoded");
        };
        let mut bytes = BytesMut::new();
        ResponseHeader::write_for(&mut bytes, ApiKey::Fetch, version, 77).unwrap();
        expected(version, error, session_id, &answers, endpoints).encode(&mut bytes, version).unwrap();
        let frame = wire_bytes(&reply);
        prop_assert_eq!(reply.size(), frame.len());
        prop_assert_eq!(&frame[..4], (bytes.len() as i32).to_be_bytes());
        prop_assert_eq!(&frame[4..], &bytes[..]);
    }
}
