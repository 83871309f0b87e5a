//! Bytes written by hand from the rules of the schema: what the differential test cannot see.

use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::kafka::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse, response::ApiVersion};
use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::metadata::{MetadataRequest, request::MetadataRequestTopic};
use highwater_proto::kafka::messages::produce::{ProduceResponse, response as produce};
use highwater_proto::kafka::records::consumer_group_current_member_assignment_value as current_assignment;
use highwater_proto::kafka::records::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ConsumerGroupMemberMetadataValue,
};
use highwater_proto::kafka::records::consumer_protocol_subscription::ConsumerProtocolSubscription;
use highwater_proto::kafka::records::control_record_type_schema::ControlRecordTypeSchema;
use highwater_proto::kafka::records::group_metadata_key::GroupMetadataKey;
use highwater_proto::kafka::records::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use highwater_proto::kafka::records::offset_commit_key::OffsetCommitKey;
use highwater_proto::kafka::records::offset_commit_value::OffsetCommitValue;
use highwater_proto::kafka::records::transaction_log_key::TransactionLogKey;
use highwater_proto::kafka::records::transaction_log_value::{PartitionsSchema, TransactionLogValue};
use highwater_proto::kafka::{
    ApiKey, ByteStr, DecodeError, EncodeError, ErrorCode, Message, MessageVisitor, RecordKey, RecordValue,
    RequestHeader, RequestPrefix, ResponseHeader, VersionedData, records,
};
use uuid::Uuid;

fn bytes(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

fn encode(message: &impl Message, version: i16) -> Result<Bytes, EncodeError> {
    let mut buf = BytesMut::new();
    message.encode(&mut buf, version).map(|()| buf.freeze())
}

/// What Apache Kafka itself reads and writes, for every message that is not an API, in every version.
#[test]
fn records_as_kafka_writes_them() {
    let lines: Vec<_> = include_str!("records.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let mut written = Written { lines, count: 0 };
    records::visit_all(&mut written);
    assert_eq!(
        written.count,
        written.lines.len(),
        "lines of messages that are not there"
    );
}

struct Written {
    lines: Vec<&'static str>,
    count: usize,
}

impl MessageVisitor for Written {
    fn visit<M: Message>(&mut self) {
        for version in M::VERSIONS {
            let prefix = format!("{} {version} ", M::NAME);
            let contents: Vec<Bytes> = self
                .lines
                .iter()
                .filter_map(|line| line.strip_prefix(&prefix))
                .map(hex)
                .collect();
            assert!(!contents.is_empty(), "nothing of {prefix}");
            for content in &contents {
                let mut rest = content.clone();
                let message =
                    M::decode(&mut rest, version).unwrap_or_else(|why| panic!("{why}: {prefix}{content:02x}"));
                assert!(rest.is_empty(), "{prefix}{content:02x}");
                assert_eq!(encode(&message, version).as_ref(), Ok(content), "{prefix}{message:?}");
            }
            self.count += contents.len();
        }
    }
}

fn hex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn offset_commit_records() {
    let key = OffsetCommitKey {
        group: "grp".into(),
        topic: "t".into(),
        partition: 7,
        ..Default::default()
    };
    let expected = bytes(&[&[0, 1, 0, 3], b"grp", &[0, 1], b"t", &[0, 0, 0, 7]]);
    assert_eq!(key.encode_key(), Ok(expected.clone()));
    assert_eq!(OffsetCommitKey::decode_key(expected.clone()), Ok(key));
    assert_eq!(
        GroupMetadataKey::decode_key(expected),
        Err(DecodeError::KeyType { found: 1, expected: 2 })
    );

    let mut value = OffsetCommitValue {
        offset: 0x0102,
        leader_epoch: 5,
        metadata: "m".into(),
        commit_timestamp: 9,
        ..Default::default()
    };
    let head = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 5];
    let time = [0, 0, 0, 0, 0, 0, 0, 9];
    let v3 = bytes(&[&[0, 3], &head, &[0, 1], b"m", &time]);
    assert_eq!(value.encode_value(3), Ok(v3.clone()));
    assert_eq!(OffsetCommitValue::decode_value(v3), Ok(value.clone()));

    let id = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    value.topic_id = id;
    let v4 = bytes(&[&[0, 4], &head, &[2], b"m", &time, &[1, 0, 16], id.as_bytes()]);
    assert_eq!(value.encode_value(4), Ok(v4.clone()));
    assert_eq!(OffsetCommitValue::decode_value(v4), Ok(value.clone()));
    // Version 1 has an expiry of its own, and neither a leader epoch nor a topic id: both may be left out.
    value.expire_timestamp = 3;
    let v1 = bytes(&[&[0, 1], &head[..8], &[0, 1], b"m", &time, &[0, 0, 0, 0, 0, 0, 0, 3]]);
    assert_eq!(value.encode_value(1), Ok(v1));
    assert_eq!(
        OffsetCommitValue::decode_value(bytes(&[&[0, 5]])),
        Err(DecodeError::UnsupportedVersion {
            message: "OffsetCommitValue",
            version: 5
        })
    );
}

#[test]
fn group_metadata_records() {
    let key = GroupMetadataKey {
        group: "g".into(),
        ..Default::default()
    };
    assert_eq!(key.encode_key(), Ok(bytes(&[&[0, 2, 0, 1], b"g"])));
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: None,
        current_state_timestamp: 8,
        members: vec![MemberMetadata {
            member_id: "m".into(),
            group_instance_id: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: 6,
            session_timeout: 5,
            subscription: Bytes::from_static(&[1, 2]),
            assignment: Bytes::new(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let v3 = bytes(&[
        &[0, 3, 0, 8],
        b"consumer",
        &[0, 0, 0, 3, 0, 5],
        b"range",
        &[0xff, 0xff],
        &[0, 0, 0, 0, 0, 0, 0, 8],
        &[0, 0, 0, 1],
        &[0, 1, b'm', 0xff, 0xff, 0, 1, b'c', 0, 2, b'/', b'h'],
        &[0, 0, 0, 6, 0, 0, 0, 5],
        &[0, 0, 0, 2, 1, 2, 0, 0, 0, 0],
    ]);
    assert_eq!(value.encode_value(3), Ok(v3.clone()));
    assert_eq!(GroupMetadataValue::decode_value(v3), Ok(value));
}

#[test]
fn transaction_records() {
    let key = TransactionLogKey {
        transactional_id: "tx".into(),
        ..Default::default()
    };
    assert_eq!(key.encode_key(), Ok(bytes(&[&[0, 0, 0, 2], b"tx"])));
    let mut value = TransactionLogValue {
        producer_id: 1,
        producer_epoch: 2,
        transaction_timeout_ms: 3,
        transaction_status: 4,
        transaction_partitions: Some(vec![PartitionsSchema {
            topic: "t".into(),
            partition_ids: vec![6],
            ..Default::default()
        }]),
        transaction_last_update_timestamp_ms: 7,
        transaction_start_timestamp_ms: 8,
        ..Default::default()
    };
    let head = [0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 3, 4];
    let times = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8];
    let v0 = bytes(&[
        &[0, 0],
        &head,
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 6],
        &times,
    ]);
    assert_eq!(value.encode_value(0), Ok(v0.clone()));
    assert_eq!(TransactionLogValue::decode_value(v0), Ok(value.clone()));

    // The tags are declared out of order (0, 1, 3, 2) and written in order.
    value.next_producer_epoch = 0;
    value.client_transaction_version = 2;
    value.previous_producer_id = 9;
    let tags = [3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 2, 2, 0, 2, 3, 2, 0, 0];
    let v1 = bytes(&[&[0, 1], &head, &[2, 2, b't', 2, 0, 0, 0, 6, 0], &times, &tags]);
    assert_eq!(value.encode_value(1), Ok(v1.clone()));
    assert_eq!(TransactionLogValue::decode_value(v1), Ok(value.clone()));
    let refused = EncodeError::NotInVersion {
        field: "previous_producer_id",
        version: 0,
    };
    assert_eq!(value.encode_value(0), Err(refused));
    value.transaction_partitions = None;
    assert_eq!(value.encode_value(1).map(|v1| v1[17]), Ok(0));
}

#[test]
fn consumer_group_records() {
    let topic = Uuid::from_u128(5);
    let value = current_assignment::ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 2,
        previous_member_epoch: 1,
        state: 3,
        assigned_partitions: vec![current_assignment::TopicPartitions {
            topic_id: topic,
            partitions: vec![4],
            assignment_epochs: Some(vec![9]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let expected = bytes(&[
        &[0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 3],
        &[2],
        topic.as_bytes(),
        &[2, 0, 0, 0, 4, 1, 0, 5, 2, 0, 0, 0, 9],
        &[1, 0],
    ]);
    // Kafka's default of the tagged array is empty, although it may be null; null is written.
    let topic_partitions = current_assignment::TopicPartitions::default();
    assert_eq!(topic_partitions.assignment_epochs, Some(Vec::new()));
    assert_eq!(value.encode_value(0), Ok(expected.clone()));
    assert_eq!(
        current_assignment::ConsumerGroupCurrentMemberAssignmentValue::decode_value(expected),
        Ok(value)
    );
}

#[test]
fn a_null_struct_in_a_tagged_field() {
    let mut value = ConsumerGroupMemberMetadataValue {
        instance_id: None,
        rack_id: None,
        client_id: "c".into(),
        client_host: "h".into(),
        subscribed_topic_regex: None,
        rebalance_timeout_ms: 1,
        server_assignor: None,
        classic_member_metadata: None,
        ..Default::default()
    };
    let head = [0, 0, 0, 0, 2, b'c', 2, b'h', 1, 0, 0, 0, 0, 1, 0];
    assert_eq!(value.encode_value(0), Ok(bytes(&[&head, &[1, 0, 1, 0,]])));
    value.classic_member_metadata = Some(ClassicMemberMetadata {
        session_timeout_ms: 9,
        ..Default::default()
    });
    let expected = bytes(&[&head, &[1, 0, 7, 1, 0, 0, 0, 9, 1, 0]]);
    assert_eq!(value.encode_value(0), Ok(expected.clone()));
    assert_eq!(ConsumerGroupMemberMetadataValue::decode_value(expected), Ok(value));
}

#[test]
fn a_newer_subscription_is_read_as_the_newest_known() {
    let content = bytes(&[
        &[0, 9],
        &[0, 0, 0, 1, 0, 1, b't'],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0, 0, 0, 4],
        &[0, 1, b'r'],
        b"whatever version 9 adds",
    ]);
    let expected = ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        generation_id: 4,
        rack_id: Some("r".into()),
        ..Default::default()
    };
    assert_eq!(ConsumerProtocolSubscription::decode_data(content), Ok((9, expected)));
    // The key of a commit marker.
    let commit = ControlRecordTypeSchema {
        r#type: 1,
        ..Default::default()
    };
    assert_eq!(commit.encode_data(0), Ok(bytes(&[&[0, 0, 0, 1]])));
}

#[test]
fn request_headers() {
    assert_eq!(
        RequestPrefix::peek(&[0; 7]),
        Err(DecodeError::Truncated {
            at: 0,
            needed: 8,
            left: 7
        })
    );
    for length in 0..8 {
        assert!(RequestHeader::parse(&mut Bytes::from(vec![0; length])).is_err());
    }
    // Flexible versions keep the old length of the client id, and add tagged fields.
    let mut frame = bytes(&[&[0, 18, 0, 3, 0, 0, 0, 5, 0, 2], b"me", &[1, 4, 1, 7], &[1, 1, 0]]);
    let (api, header) = RequestHeader::parse(&mut frame).unwrap();
    assert_eq!(
        (api, header.request_api_version, header.correlation_id),
        (ApiKey::ApiVersions, 3, 5)
    );
    assert_eq!(header.client_id, Some(ByteStr::from("me")));
    assert_eq!(header.unknown_tagged_fields, [(4, Bytes::from_static(&[7]))]);
    assert_eq!(
        ApiVersionsRequest::decode(&mut frame, 3),
        Ok(ApiVersionsRequest::default())
    );
    // A version beyond the schema still has a header that can be read: it is answered, not dropped.
    let mut frame = bytes(&[&[0, 18, 0, 99, 0, 0, 0, 6, 0xff, 0xff, 0], b"unknown"]);
    let (api, header) = RequestHeader::parse(&mut frame).unwrap();
    assert_eq!(
        (api, header.correlation_id, header.client_id),
        (ApiKey::ApiVersions, 6, None)
    );
    assert_eq!(frame, "unknown");
    let unknown = DecodeError::UnsupportedVersion {
        message: "ApiVersionsRequest",
        version: 99,
    };
    assert_eq!(ApiVersionsRequest::decode(&mut frame, 99), Err(unknown));
    let mut frame = bytes(&[&999i16.to_be_bytes(), &[0; 8]]);
    assert_eq!(
        RequestHeader::parse(&mut frame),
        Err(DecodeError::UnknownApi { key: 999 })
    );
}

#[test]
fn the_response_header_of_api_versions_is_always_version_0() {
    for version in [0, 2, 3, 4, 99] {
        assert_eq!(ApiKey::ApiVersions.response_header_version(version), 0);
    }
    let response = ApiVersionsResponse {
        api_keys: vec![ApiVersion {
            api_key: 3,
            min_version: 0,
            max_version: 13,
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut frame = BytesMut::new();
    ResponseHeader::write_for(&mut frame, ApiKey::ApiVersions, 3, 1).unwrap();
    response.encode(&mut frame, 3).unwrap();
    let expected = [0, 0, 0, 1, 0, 0, 2, 0, 3, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0];
    assert_eq!(frame[..], expected);
    // Every other API has version 1 from its first flexible version on.
    assert_eq!(ApiKey::Metadata.response_header_version(8), 0);
    assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
    assert_eq!(ApiKey::Metadata.request_header_version(8), 1);
    assert_eq!(ApiKey::Metadata.request_header_version(9), 2);
    assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
}

#[test]
fn what_a_version_cannot_carry_is_an_error_and_writes_nothing() {
    let mut response = ProduceResponse {
        responses: vec![produce::TopicProduceResponse {
            partition_responses: vec![produce::PartitionProduceResponse::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let partition = &mut response.responses[0].partition_responses[0];
    partition.error_message = Some("ignorable".into());
    let mut buf = BytesMut::from(&b"before"[..]);
    assert_eq!(response.encode(&mut buf, 7), Ok(()));
    buf.truncate(6);
    response.responses[0].partition_responses[0].current_leader.leader_id = 1;
    let refused = EncodeError::NotInVersion {
        field: "current_leader",
        version: 9,
    };
    assert_eq!(response.encode(&mut buf, 9), Err(refused));
    assert_eq!(buf, "before");
    assert_eq!(response.encode(&mut buf, 10), Ok(()));
    let unsupported = EncodeError::UnsupportedVersion {
        message: "ProduceResponse",
        version: 2,
    };
    assert_eq!(response.encode(&mut buf, 2), Err(unsupported));

    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        encode(&all, 0),
        Err(EncodeError::Null {
            field: "topics",
            version: 0
        })
    );
    assert_eq!(encode(&all, 1), Ok(bytes(&[&[0xff; 4]])));
    assert_eq!(
        MetadataRequest::decode(&mut bytes(&[&[0xff; 4]]), 0),
        Err(DecodeError::Null { at: 4 })
    );
    let long = MetadataRequestTopic {
        name: Some("x".repeat(32_768).into()),
        ..Default::default()
    };
    let long = MetadataRequest {
        topics: Some(vec![long]),
        ..Default::default()
    };
    assert_eq!(encode(&long, 1), Err(EncodeError::TooLong { length: 32_768 }));
    assert_eq!(encode(&long, 9), Err(EncodeError::TooLong { length: 32_768 }));
}

#[test]
fn tagged_fields_ascend() {
    let decode = |tags: &[u8]| {
        let mut body = BytesMut::from(&[1, 1][..]);
        body.put_slice(tags);
        let result = ApiVersionsRequest::decode(&mut body.freeze(), 3);
        result.map(|request| request.unknown_tagged_fields.len())
    };
    assert_eq!(decode(&[2, 1, 0, 2, 1, 9]), Ok(2));
    assert_eq!(decode(&[2, 1, 0, 1, 0]), Err(DecodeError::Tag { at: 7, tag: 1 }));
    assert_eq!(decode(&[2, 2, 0, 1, 0]), Err(DecodeError::Tag { at: 7, tag: 1 }));
    // A known field that is not as long as it says.
    let mut fetch = BytesMut::new();
    FetchRequest::default().encode(&mut fetch, 12).unwrap();
    let end = fetch.len() - 1;
    assert_eq!(fetch[end], 0);
    for (size, expected) in [(2, Ok(())), (3, Err(DecodeError::Tag { at: end + 5, tag: 0 }))] {
        let mut frame = BytesMut::from(&fetch[..end]);
        frame.put_slice(&[1, 0, size, 2, b'c', 0]);
        assert_eq!(FetchRequest::decode(&mut frame.freeze(), 12).map(drop), expected);
    }

    let field = |tag| (tag, Bytes::from_static(b"x"));
    for (tags, bad) in [
        (vec![field(0)], 0),
        (vec![field(7), field(7)], 7),
        (vec![field(8), field(7)], 7),
    ] {
        let request = FetchRequest {
            unknown_tagged_fields: tags,
            ..Default::default()
        };
        assert_eq!(encode(&request, 12), Err(EncodeError::Tag { tag: bad }));
        let refused = EncodeError::NotInVersion {
            field: "unknown_tagged_fields",
            version: 11,
        };
        assert_eq!(encode(&request, 11), Err(refused));
    }
}

#[test]
fn a_decoded_message_shares_the_frame_and_leaves_what_follows() {
    let mut frame = bytes(&[&[0, 0, 0, 1, 0, 5], b"topic", b"more"]);
    let whole = frame.clone();
    let request = MetadataRequest::decode(&mut frame, 1).unwrap();
    assert_eq!(frame, "more");
    let name = request.topics.unwrap()[0].name.clone().unwrap();
    assert_eq!(name, "topic");
    assert_eq!(name.clone().into_bytes().as_ptr(), whole[6..].as_ptr());
    assert_ne!(name.detached().into_bytes().as_ptr(), whole[6..].as_ptr());
    let mut bad = bytes(&[&[0, 0, 0, 1, 0, 2, 0xc3, 0x28]]);
    assert_eq!(MetadataRequest::decode(&mut bad, 1), Err(DecodeError::Utf8 { at: 6 }));
    assert_eq!(bad.len(), 8);
}

#[test]
fn error_codes() {
    assert_eq!(ErrorCode::from_code(-1), ErrorCode::UnknownServerError);
    assert_eq!(ErrorCode::from_code(12_345), ErrorCode::UnknownServerError);
    assert_eq!(ErrorCode::NotLeaderOrFollower.code(), 6);
    assert_eq!(ErrorCode::from_code(82).name(), "FENCED_INSTANCE_ID");
    let retriable: Vec<i16> = ErrorCode::ALL
        .iter()
        .filter(|code| code.is_retriable())
        .map(|code| code.code())
        .collect();
    let expected = [
        2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89, 100, 103,
        106, 122, 123, 133,
    ];
    assert_eq!(retriable, expected);
    assert!(ErrorCode::NotLeaderOrFollower.refreshes_metadata());
    assert!(!ErrorCode::NotCoordinator.refreshes_metadata());
}
