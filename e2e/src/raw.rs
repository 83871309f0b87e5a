//! A Kafka client of single requests: connects, sends one request in one version, decodes its answer.
//!
//! The codec is the `kafka-protocol` crate, an implementation that is not ours.

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, GroupId, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    OffsetFetchRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    BatchDecodeInfo, Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A string as the codec wants it.
pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

/// A topic name as the codec wants it.
pub fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}

/// A group id as the codec wants it.
pub fn group_id(s: &str) -> GroupId {
    GroupId(text(s))
}

/// Milliseconds since 1970 by the clock of this machine.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as i64
}

/// One connection, one request at a time.
pub struct Raw {
    stream: TcpStream,
    next: i32,
    client_id: StrBytes,
}

/// What connections say they are.
const CLIENT_ID: &str = "highwater-e2e";

impl Raw {
    /// Connects to `HOST:PORT` (a literal address); an answer may take 30 s.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(bootstrap: &str) -> anyhow::Result<Self> {
        let address: SocketAddr = bootstrap.parse().with_context(|| format!("the address {bootstrap}"))?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            next: 1,
            client_id: text(CLIENT_ID),
        })
    }

    /// The same connection, with another `client.id` from now on.
    #[must_use]
    pub fn named(mut self, client_id: &str) -> Self {
        self.client_id = text(client_id);
        self
    }

    /// Sends the request and returns its answer.
    ///
    /// # Errors
    /// A closed connection, no answer in 30 s, or an answer that does not decode whole in this version.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response> {
        self.send(version, request)?;
        self.answer::<R>(version)
    }

    /// Sends the request without waiting for an answer.
    ///
    /// # Errors
    /// A closed connection.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<()> {
        let frame = encode_as(&self.client_id, version, self.next, request)?;
        self.write(&frame)?;
        Ok(())
    }

    /// Reads the answer to the request sent last.
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn answer<R: Request>(&mut self, version: i16) -> anyhow::Result<R::Response> {
        let mut frame = self.read()?;
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
        ensure!(
            header.correlation_id == self.next,
            "correlation id {} for {}",
            header.correlation_id,
            self.next
        );
        self.next += 1;
        let response = R::Response::decode(&mut frame, version)?;
        ensure!(frame.is_empty(), "{} bytes after the answer", frame.len());
        Ok(response)
    }

    /// The request sent last gets no answer: the next answer belongs to the next request.
    pub fn expect_no_answer(&mut self) {
        self.next += 1;
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// A closed connection.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one frame without its length.
    ///
    /// # Errors
    /// A closed connection, or nothing within the time limit.
    pub fn read(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Whether the peer closes the connection, without a byte, within `limit`.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let _ = self.stream.set_read_timeout(Some(limit));
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(n) => n == 0,
            Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Limits how long an answer may take.
    pub fn set_patience(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a limit above 0");
    }

    /// How many brokers Metadata names.
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn brokers(&mut self) -> anyhow::Result<usize> {
        Ok(self
            .call(1, &MetadataRequest::default().with_topics(Some(vec![])))?
            .brokers
            .len())
    }

    /// Metadata of one topic, never creating it.
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn metadata(&mut self, topic: &str) -> anyhow::Result<MetadataResponse> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request)
    }

    /// Number of partitions that have a leader.
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn partitions(&mut self, topic: &str) -> anyhow::Result<i32> {
        let topics = self.metadata(topic)?.topics;
        Ok(topics
            .iter()
            .flat_map(|t| &t.partitions)
            .filter(|p| p.leader_id.0 >= 0)
            .count() as i32)
    }

    /// Creates a topic and waits until every partition can be read.
    ///
    /// # Errors
    /// What the broker answered instead.
    pub fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        let code = self.create_code(topic, partitions, 1, configs)?.0;
        ensure!(code == 0, "creating {topic} is answered by error {code}");
        let deadline = Instant::now() + Duration::from_secs(20);
        for partition in 0..partitions {
            while self.fetch(topic, partition, 0).is_err() {
                ensure!(
                    Instant::now() < deadline,
                    "{topic}-{partition} is not usable after 20 s"
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// Error code and message of CreateTopics.
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn create_code(
        &mut self,
        topic: &str,
        partitions: i32,
        replication_factor: i16,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<(i16, Option<String>)> {
        let configs = configs
            .iter()
            .map(|(k, v)| {
                CreatableTopicConfig::default()
                    .with_name(text(k))
                    .with_value(Some(text(v)))
            })
            .collect();
        let wanted = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor)
            .with_configs(configs);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(20_000);
        let answer = self.call(5, &request)?;
        let topic = answer.topics.first().context("one topic was asked for")?;
        Ok((topic.error_code, topic.error_message.as_ref().map(|m| m.to_string())))
    }

    /// Produces bytes of record batches with acks=all; error code and base offset.
    ///
    /// # Errors
    /// As [`Raw::call`].
    pub fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> anyhow::Result<(i16, i64)> {
        let answer = self.call(9, &produce_request(topic, partition, -1, records))?;
        let p = &answer.responses[0].partition_responses[0];
        Ok((p.error_code, p.base_offset))
    }

    /// Reads batches from an offset on, at most 10 MiB, without waiting.
    ///
    /// # Errors
    /// As [`Raw::call`], and an error code of the partition.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> anyhow::Result<Bytes> {
        let answer = self.call(11, &fetch_request(topic, partition, offset))?;
        let p = &answer.responses[0].partitions[0];
        ensure!(
            p.error_code == 0,
            "fetch of {topic}-{partition} from {offset}: error {}",
            p.error_code
        );
        Ok(p.records.clone().unwrap_or_default())
    }

    /// The headers of all batches of a partition, from its start.
    ///
    /// # Errors
    /// As [`Raw::fetch`].
    pub fn batches(&mut self, topic: &str, partition: i32) -> anyhow::Result<Vec<BatchDecodeInfo>> {
        let (mut all, mut offset) = (Vec::new(), self.offset(topic, partition, -2)?);
        let end = self.offset(topic, partition, -1)?;
        while offset < end {
            let got = RecordBatchDecoder::decode_batch_info(&mut whole_batches(self.fetch(topic, partition, offset)?))?;
            let last = got.last().context("a fetch below the end brings a batch")?;
            offset = last.min_offset + i64::from(last.record_count);
            all.extend(got);
        }
        Ok(all)
    }

    /// All records of a partition from its start, uncompressed batches only.
    ///
    /// # Errors
    /// As [`Raw::fetch`].
    pub fn records(&mut self, topic: &str, partition: i32) -> anyhow::Result<Vec<Record>> {
        let (mut all, mut offset) = (Vec::new(), self.offset(topic, partition, -2)?);
        let end = self.offset(topic, partition, -1)?;
        while offset < end {
            let got = RecordBatchDecoder::decode_all(&mut whole_batches(self.fetch(topic, partition, offset)?))?;
            let got: Vec<Record> = got
                .into_iter()
                .flat_map(|b| b.records)
                .filter(|r| r.offset >= offset)
                .collect();
            offset = got.last().context("a fetch below the end brings a record")?.offset + 1;
            all.extend(got);
        }
        Ok(all)
    }

    /// ListOffsets of one partition: a time in milliseconds, -1 for the end, -2 for the start.
    ///
    /// # Errors
    /// As [`Raw::call`], and an error code of the partition.
    pub fn offset(&mut self, topic: &str, partition: i32, time: i64) -> anyhow::Result<i64> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(time);
        let topics = vec![
            ListOffsetsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(vec![asked]),
        ];
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(topics);
        let answer = self.call(6, &request)?;
        let p = &answer.topics[0].partitions[0];
        ensure!(
            p.error_code == 0,
            "offset of {topic}-{partition}: error {}",
            p.error_code
        );
        Ok(p.offset)
    }

    /// The committed offset of each partition, -1 where there is none.
    ///
    /// # Errors
    /// As [`Raw::call`], and an error code of the group or a partition.
    pub fn committed(&mut self, group: &str, topic: &str, partitions: i32) -> anyhow::Result<Vec<i64>> {
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes((0..partitions).collect());
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(Some(vec![asked]));
        let answer = self.call(5, &request)?;
        ensure!(
            answer.error_code == 0,
            "offsets of {group}: error {}",
            answer.error_code
        );
        let mut offsets = vec![-1; partitions as usize];
        for p in answer.topics.iter().flat_map(|t| &t.partitions) {
            ensure!(
                p.error_code == 0,
                "offset of {group} {topic}-{}: error {}",
                p.partition_index,
                p.error_code
            );
            offsets[p.partition_index as usize] = p.committed_offset;
        }
        Ok(offsets)
    }
}

/// A whole frame, with its length.
///
/// # Errors
/// A field that this version cannot carry.
pub fn encode<R: Request>(version: i16, correlation_id: i32, request: &R) -> anyhow::Result<Vec<u8>> {
    encode_as(&text(CLIENT_ID), version, correlation_id, request)
}

fn encode_as<R: Request>(
    client_id: &StrBytes,
    version: i16,
    correlation_id: i32,
    request: &R,
) -> anyhow::Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    let key = ApiKey::try_from(R::KEY).ok().context("an api key of the codec")?;
    let mut body = BytesMut::new();
    header.encode(&mut body, key.request_header_version(version))?;
    request.encode(&mut body, version)?;
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Produce for one partition.
pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topics = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topics])
}

/// Fetch of one partition without a session and without waiting.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(10 << 20);
    let topics = vec![
        FetchTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(vec![asked]),
    ];
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_bytes(10 << 20)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// Cuts off a last batch that is not there whole, as a client does.
pub fn whole_batches(bytes: Bytes) -> Bytes {
    let mut end = 0;
    while let Some(length) = bytes.get(end + 8..end + 12) {
        let length = i32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        if bytes.len() < end + 12 + length {
            break;
        }
        end += 12 + length;
    }
    bytes.slice(..end)
}

/// Who a batch says it comes from: producer id, epoch and first sequence number.
#[derive(Clone, Copy)]
pub struct Producer {
    /// The id that InitProducerId gave.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of the first record.
    pub sequence: i32,
}

impl Producer {
    /// A producer without idempotence.
    pub const NONE: Self = Self {
        id: NO_PRODUCER_ID,
        epoch: NO_PRODUCER_EPOCH,
        sequence: NO_SEQUENCE,
    };
}

/// One uncompressed batch of these records.
pub fn batch(records: &[(Option<&str>, &str)], producer: Producer) -> Bytes {
    let time = now_ms();
    let records: Vec<Record> = records
        .iter()
        .enumerate()
        .map(|(i, (key, value))| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timestamp_type: TimestampType::Creation,
            offset: i as i64,
            sequence: producer.sequence + i as i32,
            timestamp: time,
            key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: Default::default(),
        })
        .collect();
    encode_batch(&records)
}

/// One uncompressed batch of these records.
pub fn encode_batch(records: &[Record]) -> Bytes {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut bytes, records, &options).expect("records of ours encode");
    bytes.freeze()
}
