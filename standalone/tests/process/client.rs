//! A Kafka client of single requests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use highwater_proto::kafka::messages::create_topics::CreateTopicsRequest;
use highwater_proto::kafka::messages::create_topics::request::CreatableTopic;
use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::fetch::request::{FetchPartition, FetchTopic};
use highwater_proto::kafka::messages::find_coordinator::FindCoordinatorRequest;
use highwater_proto::kafka::messages::join_group::request::JoinGroupRequestProtocol;
use highwater_proto::kafka::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use highwater_proto::kafka::messages::offset_commit::OffsetCommitRequest;
use highwater_proto::kafka::messages::offset_commit::request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater_proto::kafka::messages::offset_fetch::OffsetFetchRequest;
use highwater_proto::kafka::messages::offset_fetch::request::OffsetFetchRequestTopic;
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};
use highwater_proto::kafka::{Message, Request, RequestHeader, ResponseHeader};
use highwater_proto::record::{BatchBuilder, Batches};
use highwater_proto::types::TimestampMs;

const LIMIT: Duration = Duration::from_secs(30);

pub struct Client {
    stream: TcpStream,
    next: i32,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// `None` if nobody listens there.
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Some(Self { stream, next: 0 })
    }

    pub fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.try_send(version, request).unwrap();
    }

    fn try_send<R: Request>(&mut self, version: i16, request: &R) -> std::io::Result<()> {
        self.next += 1;
        let header = RequestHeader {
            request_api_key: R::API_KEY.code(),
            request_api_version: version,
            correlation_id: self.next,
            client_id: Some("test".into()),
            ..RequestHeader::default()
        };
        let mut body = BytesMut::new();
        header
            .encode(&mut body, R::API_KEY.request_header_version(version))
            .unwrap();
        request.encode(&mut body, version).unwrap();
        let size = (body.len() as i32).to_be_bytes();
        self.stream.write_all(&[&size, &body[..]].concat())
    }

    /// `None` when the connection is closed.
    pub fn try_call<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.try_send(version, request).ok()?;
        self.receive::<R>(version)
    }

    /// The answer to the request sent last; `None` when the connection is closed.
    pub fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).ok()?;
        let mut frame = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, R::API_KEY.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.next);
        Some(R::Response::decode(&mut frame, version).unwrap())
    }

    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).expect("the connection was closed")
    }

    pub fn create(&mut self, topic: &str) {
        self.create_with(topic, 1, 1);
    }

    pub fn create_with(&mut self, topic: &str, partitions: i32, replicas: i16) {
        let topic = CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: replicas,
            ..Default::default()
        };
        let created = self.call(
            4,
            &CreateTopicsRequest {
                topics: vec![topic],
                timeout_ms: 10_000,
                ..Default::default()
            },
        );
        assert_eq!(created.topics[0].error_code, 0);
    }

    /// Appends one batch with acks=all.
    pub fn produce(&mut self, topic: &str, values: &[&str]) {
        let codes = self.append(topic, &[0], &batch(1_000_000, values));
        assert_eq!(codes, [(0, 0)]);
    }

    /// Appends one record to each of the partitions; the error codes.
    pub fn produce_to(&mut self, topic: &str, partitions: &[i32], value: &str) -> Vec<(i32, i16)> {
        self.append(topic, partitions, &batch(1_000_000, &[value]))
    }

    /// Appends one record of that time to partition 0; the error code.
    pub fn produce_at(&mut self, topic: &str, timestamp: i64, value: &str) -> i16 {
        self.append(topic, &[0], &batch(timestamp, &[value]))[0].1
    }

    fn append(&mut self, topic: &str, partitions: &[i32], records: &Bytes) -> Vec<(i32, i16)> {
        let partitions = partitions.iter().map(|index| PartitionProduceData {
            index: *index,
            records: Some(records.clone()),
            ..Default::default()
        });
        let data = TopicProduceData {
            name: topic.into(),
            partition_data: partitions.collect(),
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![data],
            ..Default::default()
        };
        let answer = self.call(7, &request);
        let partitions = answer.responses[0].partition_responses.iter();
        partitions.map(|it| (it.index, it.error_code)).collect()
    }

    /// Values of the first partition.
    pub fn values(&mut self, topic: &str) -> Vec<String> {
        self.values_of(topic, 0)
    }

    /// Values of a partition, however many fetches that takes.
    pub fn values_of(&mut self, topic: &str, partition: i32) -> Vec<String> {
        let mut values = Vec::new();
        loop {
            let more = self.values_from(topic, partition, values.len() as i64);
            if more.is_empty() {
                return values;
            }
            values.extend(more);
        }
    }

    fn values_from(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<String> {
        let mut request = fetch(topic, 0, 0);
        request.topics[0].partitions[0].partition = partition;
        request.topics[0].partitions[0].fetch_offset = offset;
        let answer = self.call(11, &request);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        let mut values = Vec::new();
        for batch in Batches::new(partition.records.clone().unwrap_or_default()) {
            let batch = batch.unwrap();
            for record in batch.iter().unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }

    /// Asks until the group has a coordinator.
    pub fn find_coordinator(&mut self, group: &str) {
        let request = FindCoordinatorRequest {
            key: group.into(),
            ..Default::default()
        };
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.call(3, &request).error_code {
                0 => return,
                15 => assert!(Instant::now() < deadline, "no coordinator"),
                other => panic!("error {other}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Joins as a new member, until the coordinator has loaded the group's shard.
    pub fn join(&mut self, group: &str) -> JoinGroupResponse {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.call(3, &join(group));
            match answer.error_code {
                14 | 16 => assert!(Instant::now() < deadline, "the shard is not loaded"),
                _ => return answer,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Commits an offset of partition 0, as a member or (generation -1) as nobody in particular; the error code.
    pub fn commit(&mut self, group: &str, generation: i32, member: &str, topic: &str, offset: i64) -> i16 {
        let request = commit(group, generation, member, topic, offset);
        self.call(7, &request).topics[0].partitions[0].error_code
    }

    /// Committed offset of partition 0, once the shard is loaded.
    pub fn committed(&mut self, group: &str, topic: &str) -> i64 {
        let request = offset_fetch(group, topic);
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.call(5, &request);
            match answer.error_code {
                0 => return answer.topics[0].partitions[0].committed_offset,
                14 | 16 => assert!(Instant::now() < deadline, "the shard is not loaded"),
                other => panic!("error {other}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn batch(timestamp: i64, values: &[&str]) -> Bytes {
    let mut batch = BatchBuilder::new();
    for value in values {
        batch
            .append(TimestampMs(timestamp), None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    batch.build().unwrap().to_bytes()
}

/// A commit of an offset of partition 0.
pub fn commit(group: &str, generation: i32, member: &str, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![topic],
        ..Default::default()
    }
}

/// Asks for the committed offset of partition 0.
pub fn offset_fetch(group: &str, topic: &str) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopic {
        name: topic.into(),
        partition_indexes: vec![0],
        ..Default::default()
    };
    OffsetFetchRequest {
        group_id: group.into(),
        topics: Some(vec![topic]),
        ..Default::default()
    }
}

/// A join of a new member, of a version before MEMBER_ID_REQUIRED.
pub fn join(group: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol {
        name: "range".into(),
        metadata: Bytes::from_static(b"m"),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// A fetch of partition 0 from its start, which waits for so many bytes.
pub fn fetch(topic: &str, min_bytes: i32, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition {
        partition: 0,
        current_leader_epoch: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: 1 << 20,
        topics: vec![topic],
        session_epoch: -1,
        ..Default::default()
    }
}
