//! What a Kafka broker answers where clients depend on it, by raw requests. The table was measured on Apache Kafka;
//! `HIGHWATER_E2E_PEER=kafka` checks it there again.

use bytes::Bytes;
use highwater_e2e::broker::{Broker, is_kafka};
use highwater_e2e::client::wait_until;
use highwater_e2e::raw::{
    Producer, Raw, batch, encode, encode_batch, fetch_request, group_id, produce_request, text, topic_name,
};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::*;
use kafka_protocol::records::RecordBatchDecoder;
use std::time::{Duration, Instant};

/// What the rows share: a broker, a connection, and topics made for them.
struct Table {
    broker: Broker,
    raw: Raw,
    id: String,
}

/// Situation, what a broker answers, and how to bring it about.
type Row = (&'static str, &'static str, fn(&mut Table) -> String);

const CONNECTION: &[Row] = &[
    (
        "ApiVersions v99",
        "35 in a v0 body, the connection stays",
        api_versions_99,
    ),
    ("unknown api key 999", "closed", |t| {
        t.closes(&[0, 0, 0, 10, 3, 231, 0, 0, 0, 0, 0, 1, 255, 255])
    }),
    ("Produce v2", "closed", |t| {
        t.closes(&[0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 255, 255])
    }),
    ("a frame of length 0", "closed", |t| t.closes(&[0, 0, 0, 0])),
    ("a frame of negative length", "closed", |t| {
        t.closes(&[255, 255, 255, 255])
    }),
    ("a frame of 2 GiB", "closed", |t| t.closes(&[127, 255, 255, 255, 0, 3])),
    ("Metadata with an array of 2 billion", "closed", |t| {
        t.closes(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 255, 255, 127, 255, 255, 255])
    }),
];

const PRODUCE: &[Row] = &[
    ("acks=2", "21", |t| {
        let topic = t.topic("acks2", &[]);
        let answer = t.raw.call(9, &produce_request(&topic, 0, 2, one("v"))).unwrap();
        answer.responses[0].partition_responses[0].error_code.to_string()
    }),
    ("acks=0", "no answer", |t| {
        let topic = t.topic("acks0", &[]);
        t.raw.send(9, &produce_request(&topic, 0, 0, one("v"))).unwrap();
        t.raw.expect_no_answer();
        // The next answer then carries the next correlation id, or this is an error.
        t.raw
            .brokers()
            .map_or_else(|e| e.to_string(), |_| "no answer".to_owned())
    }),
    ("a wrong CRC", "2, base offset -1", |t| {
        let topic = t.topic("crc", &[]);
        let mut bytes = one("v").to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        t.produce(&topic, bytes.into())
    }),
    ("a batch above max.message.bytes", "10, base offset -1", |t| {
        let topic = t.topic("large", &[("max.message.bytes", "1000")]);
        t.produce(&topic, one(&"v".repeat(2000)))
    }),
    ("a control batch", "87, base offset -1", |t| {
        let topic = t.topic("control", &[]);
        let mut records = RecordBatchDecoder::decode(&mut one("v")).unwrap().records;
        records[0].control = true;
        t.produce(&topic, encode_batch(&records))
    }),
    ("an unknown topic", "3, base offset -1", |t| {
        t.produce("no-such-topic", one("v"))
    }),
    ("an unknown topic id", "100", |t| {
        let mut request = produce_request("", 0, -1, one("v"));
        request.topic_data[0].topic_id = uuid::Uuid::from_u128(7);
        let answer = t.raw.call(13, &request).unwrap();
        answer.responses[0].partition_responses[0].error_code.to_string()
    }),
    ("an unknown partition", "3, base offset -1", |t| {
        let topic = t.topic("few", &[]);
        let (code, base) = t.raw.produce(&topic, 5, one("v")).unwrap();
        format!("{code}, base offset {base}")
    }),
    (
        "min.insync.replicas=2 with one replica, acks=all",
        "0, base offset 0",
        |t| {
            let topic = t.topic("minisr", &[("min.insync.replicas", "2")]);
            t.produce(&topic, one("v"))
        },
    ),
    (
        "idempotent: the same batch again",
        "0, base offset 0; 0, base offset 1; 0, base offset 0",
        |t| {
            let topic = t.topic("again", &[]);
            let id = t.producer_id();
            let answers =
                [0, 1, 0].map(|sequence| t.produce(&topic, batch(&[(None, "v")], Producer { id, epoch: 0, sequence })));
            answers.join("; ")
        },
    ),
    ("idempotent: a gap", "45, base offset -1", |t| {
        let topic = t.topic("gap", &[]);
        let id = t.producer_id();
        t.produce(
            &topic,
            batch(
                &[(None, "v")],
                Producer {
                    id,
                    epoch: 0,
                    sequence: 0,
                },
            ),
        );
        t.produce(
            &topic,
            batch(
                &[(None, "v")],
                Producer {
                    id,
                    epoch: 0,
                    sequence: 5,
                },
            ),
        )
    }),
    (
        "idempotent: an unknown producer at sequence 7",
        "0, base offset 0",
        |t| {
            let topic = t.topic("unknown", &[]);
            t.produce(
                &topic,
                batch(
                    &[(None, "v")],
                    Producer {
                        id: 987_654,
                        epoch: 0,
                        sequence: 7,
                    },
                ),
            )
        },
    ),
    ("idempotent: an older epoch", "47, base offset -1", |t| {
        let topic = t.topic("fenced", &[]);
        let id = t.producer_id();
        t.produce(
            &topic,
            batch(
                &[(None, "v")],
                Producer {
                    id,
                    epoch: 3,
                    sequence: 0,
                },
            ),
        );
        t.produce(
            &topic,
            batch(
                &[(None, "v")],
                Producer {
                    id,
                    epoch: 2,
                    sequence: 0,
                },
            ),
        )
    }),
];

const FETCH: &[Row] = &[
    ("beyond the end", "1, high watermark -1", |t| {
        let topic = t.topic("beyond", &[]);
        t.produce(&topic, one("v"));
        let answer = t.raw.call(12, &fetch_request(&topic, 0, 99)).unwrap();
        let p = &answer.responses[0].partitions[0];
        format!("{}, high watermark {}", p.error_code, p.high_watermark)
    }),
    ("a leader epoch of the future", "75", |t| {
        let topic = t.topic("future", &[]);
        let mut request = fetch_request(&topic, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = 99;
        t.raw.call(12, &request).unwrap().responses[0].partitions[0]
            .error_code
            .to_string()
    }),
    ("an unknown session", "70", |t| {
        let topic = t.topic("session", &[]);
        let mut request = fetch_request(&topic, 0, 0);
        (request.session_id, request.session_epoch) = (123_456, 7);
        t.raw.call(12, &request).unwrap().error_code.to_string()
    }),
    ("an unknown topic", "3", |t| {
        t.raw.call(12, &fetch_request("no-such-topic", 0, 0)).unwrap().responses[0].partitions[0]
            .error_code
            .to_string()
    }),
    ("an unknown topic id", "100", |t| {
        let mut request = fetch_request("", 0, 0);
        request.topics[0].topic_id = uuid::Uuid::from_u128(7);
        t.raw.call(13, &request).unwrap().responses[0].partitions[0]
            .error_code
            .to_string()
    }),
];

const GROUPS: &[Row] = &[
    ("JoinGroup v4 without a member id", "79 and a generated id", |t| {
        let group = t.name("join");
        let answer = t.join(&group, "", 10_000);
        let generated = if answer.member_id.is_empty() {
            "no"
        } else {
            "a generated"
        };
        format!("{} and {generated} id", answer.error_code)
    }),
    ("JoinGroup by an unknown member", "25", |t| {
        let g = t.name("j25");
        t.join(&g, "nobody", 10_000).error_code.to_string()
    }),
    ("JoinGroup with a session of 1 ms", "26", |t| {
        let g = t.name("j26");
        t.join(&g, "", 1).error_code.to_string()
    }),
    ("JoinGroup without a group id", "24", |t| {
        t.join("", "", 10_000).error_code.to_string()
    }),
    ("Heartbeat by an unknown member", "25", |t| {
        let group = t.name("beat");
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&group))
            .with_member_id(text("nobody"))
            .with_generation_id(1);
        t.raw.call(4, &request).unwrap().error_code.to_string()
    }),
    ("OffsetCommit by a member of an unknown group", "22", |t| {
        let g = t.name("c22");
        t.commit(&g, "nobody", 1)
    }),
    ("OffsetCommit by an unknown member", "25", |t| {
        let g = t.name("c25");
        t.commit(&g, "", -1);
        t.commit(&g, "nobody", 1)
    }),
    ("OffsetCommit without a member (generation -1)", "0", |t| {
        let g = t.name("c0");
        t.commit(&g, "", -1)
    }),
    ("OffsetFetch of an unknown group", "0, offset -1", |t| {
        let topic = t.topic("ofetch", &[]);
        let offsets = t.raw.committed("no-such-group", &topic, 1);
        offsets.map_or_else(|e| e.to_string(), |o| format!("0, offset {}", o[0]))
    }),
    ("DescribeGroups v6 of an unknown group", "69, Dead", |t| {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id("no-such-group")]);
        let answer = t.raw.call(6, &request).unwrap();
        format!(
            "{}, {}",
            answer.groups[0].error_code,
            answer.groups[0].group_state.as_str()
        )
    }),
    ("DescribeGroups v5 of an unknown group", "0, Dead", |t| {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id("no-such-group")]);
        let answer = t.raw.call(5, &request).unwrap();
        format!(
            "{}, {}",
            answer.groups[0].error_code,
            answer.groups[0].group_state.as_str()
        )
    }),
    ("DeleteGroups of an unknown group", "69", |t| {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id("no-such-group")]);
        t.raw.call(2, &request).unwrap().results[0].error_code.to_string()
    }),
];

const TOPICS: &[Row] = &[
    ("CreateTopics: exists", "36 with a message", |t| {
        let topic = t.topic("exists", &[]);
        t.create(&topic, 1, 1, &[])
    }),
    ("CreateTopics: more replicas than brokers", "38 with a message", |t| {
        let n = t.name("rf");
        t.create(&n, 1, 9, &[])
    }),
    ("CreateTopics: no partitions", "37 with a message", |t| {
        let n = t.name("p0");
        t.create(&n, 0, 1, &[])
    }),
    ("CreateTopics: a bad name", "17 with a message", |t| {
        t.create("a b", 1, 1, &[])
    }),
    ("CreateTopics: a bad value", "40 with a message", |t| {
        let n = t.name("bad");
        t.create(&n, 1, 1, &[("retention.ms", "soon")])
    }),
    ("CreateTopics: an unknown config", "40 with a message", |t| {
        let n = t.name("cfg");
        t.create(&n, 1, 1, &[("no.such", "1")])
    }),
    ("CreatePartitions: the same count", "37", |t| {
        let topic = t.topic("same", &[]);
        let wanted = CreatePartitionsTopic::default()
            .with_name(topic_name(&topic))
            .with_count(1);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(10_000);
        t.raw.call(3, &request).unwrap().results[0].error_code.to_string()
    }),
    ("DeleteTopics: unknown", "3", |t| {
        let unknown = DeleteTopicState::default().with_name(Some(topic_name("no-such-topic")));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![unknown])
            .with_timeout_ms(10_000);
        t.raw.call(6, &request).unwrap().responses[0].error_code.to_string()
    }),
    ("Metadata: unknown", "3", |t| {
        t.raw.metadata("no-such-topic").unwrap().topics[0]
            .error_code
            .to_string()
    }),
    ("Metadata: created by asking", "3, then 0", |t| {
        let name = t.name("auto");
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(&name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(true);
        let first = t.raw.call(12, &request).unwrap().topics[0].error_code;
        let then = settled(|| t.raw.call(12, &request).unwrap().topics[0].error_code, &[3, 5]);
        format!("{first}, then {then}")
    }),
    ("InitProducerId at the start", "0", |t| {
        let mut code = || {
            t.raw
                .call(
                    4,
                    &InitProducerIdRequest::default()
                        .with_transactional_id(None)
                        .with_producer_id((-1).into()),
                )
                .unwrap()
                .error_code
        };
        settled(&mut code, &[14, 15, 16]).to_string()
    }),
];

/// What only Highwater answers, as long as it has no transactions, no SASL and no compaction of clients' topics.
const NOT_YET: &[Row] = &[
    ("SaslHandshake, which is not advertised", "closed", |t| {
        t.closes(&[0, 0, 0, 17, 0, 17, 0, 1, 0, 0, 0, 1, 255, 255, 0, 5, 80, 76, 65, 73, 78])
    }),
    ("EndTxn, which is not advertised", "closed", |t| {
        let request = EndTxnRequest::default().with_transactional_id(TransactionalId(text("tx")));
        t.closes(&encode(3, 1, &request).unwrap())
    }),
    ("CreateTopics: a compacted topic", "40 naming compact", |t| {
        let name = t.name("compacted");
        let configs = [("cleanup.policy", "compact")];
        let (code, message) = t.raw.create_code(&name, 1, 1, &configs).unwrap();
        naming(code, message.as_deref(), "compact")
    }),
    ("IncrementalAlterConfigs: a compacted topic", "40 naming compact", |t| {
        let topic = t.topic("compact-later", &[]);
        let config = AlterableConfig::default()
            .with_name(text("cleanup.policy"))
            .with_value(Some(text("compact,delete")));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(&topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = t.raw.call(1, &request).unwrap();
        let answer = &answer.responses[0];
        naming(
            answer.error_code,
            answer.error_message.as_ref().map(|m| m.as_str()),
            "compact",
        )
    }),
    ("transactional APIs are not advertised", "none of 24, 25, 26, 28", |t| {
        let answer = t
            .raw
            .call(
                3,
                &ApiVersionsRequest::default()
                    .with_client_software_name(text("e2e"))
                    .with_client_software_version(text("1")),
            )
            .unwrap();
        let found: Vec<i16> = answer
            .api_keys
            .iter()
            .map(|a| a.api_key)
            .filter(|k| (24..=28).contains(k))
            .collect();
        if found.is_empty() {
            "none of 24, 25, 26, 28".to_owned()
        } else {
            format!("{found:?}")
        }
    }),
    ("FindCoordinator of a transactional id", "42 with a message", |t| {
        let request = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_coordinator_keys(vec![text("tx")]);
        let answer = t.raw.call(4, &request).unwrap();
        with_message(
            answer.coordinators[0].error_code,
            answer.coordinators[0].error_message.as_ref().map(|m| m.as_str()),
        )
    }),
    ("FindCoordinator v3 of a transactional id", "42 with a message", |t| {
        let request = FindCoordinatorRequest::default().with_key_type(1).with_key(text("tx"));
        let answer = t.raw.call(3, &request).unwrap();
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
    }),
    ("InitProducerId with a transactional id", "42", |t| {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text("tx"))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into());
        t.raw.call(4, &request).unwrap().error_code.to_string()
    }),
];

fn one(value: &str) -> Bytes {
    batch(&[(None, value)], Producer::NONE)
}

fn with_message(code: i16, message: Option<&str>) -> String {
    format!(
        "{code} {} a message",
        if message.is_some_and(|m| m.len() > 5) {
            "with"
        } else {
            "without"
        }
    )
}

fn naming(code: i16, message: Option<&str>, what: &str) -> String {
    let names = message.is_some_and(|m| m.contains(what));
    format!("{code} {} {what}", if names { "naming" } else { "without" })
}

/// The first answer that is none of the passing ones, for at most 20 s.
fn settled(mut ask: impl FnMut() -> i16, passing: &[i16]) -> i16 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let code = ask();
        if !passing.contains(&code) || Instant::now() > deadline {
            return code;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Table {
    fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.id)
    }

    fn topic(&mut self, name: &str, configs: &[(&str, &str)]) -> String {
        let topic = self.name(name);
        self.raw.create(&topic, 1, configs).unwrap();
        topic
    }

    fn produce(&mut self, topic: &str, records: Bytes) -> String {
        let (code, base) = self.raw.produce(topic, 0, records).unwrap();
        format!("{code}, base offset {base}")
    }

    fn create(&mut self, topic: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) -> String {
        let (code, message) = self.raw.create_code(topic, partitions, replicas, configs).unwrap();
        with_message(code, message.as_deref())
    }

    fn producer_id(&mut self) -> i64 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into());
        settled(|| self.raw.call(4, &request).unwrap().error_code, &[14, 15, 16]);
        self.raw.call(4, &request).unwrap().producer_id.0
    }

    fn join(&mut self, group: &str, member: &str, session_ms: i32) -> JoinGroupResponse {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(text(member))
            .with_protocol_type(text("consumer"))
            .with_session_timeout_ms(session_ms)
            .with_rebalance_timeout_ms(10_000)
            .with_protocols(vec![protocol]);
        self.coordinator_ready();
        self.raw.call(5, &request).unwrap()
    }

    fn commit(&mut self, group: &str, member: &str, generation: i32) -> String {
        let topic = self.name("commits");
        let _ = self.raw.create_code(&topic, 1, 1, &[]).unwrap();
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(0);
        let of = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![of]);
        self.coordinator_ready();
        self.raw.call(7, &request).unwrap().topics[0].partitions[0]
            .error_code
            .to_string()
    }

    /// The first request of a group creates the internal topic: until then 14, 15 or 16 are right answers.
    fn coordinator_ready(&mut self) {
        let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("any")]);
        settled(|| self.raw.call(4, &find).unwrap().coordinators[0].error_code, &[15]);
        // A heartbeat is answered while a shard loads, so ask for offsets; enough groups to touch every shard.
        for group in 0..50 {
            let name = format!("probe-{group}");
            wait_until("the coordinator has loaded", Duration::from_secs(20), || {
                self.raw.committed(&name, "no-such-topic", 1).is_ok()
            });
        }
    }

    fn closes(&mut self, bytes: &[u8]) -> String {
        let mut raw = self.broker.raw();
        raw.write(bytes).unwrap();
        let closed = raw.is_closed_within(Duration::from_secs(5));
        assert_eq!(self.raw.brokers().unwrap(), 1, "others are served");
        if closed { "closed" } else { "open" }.to_owned()
    }
}

fn api_versions_99(t: &mut Table) -> String {
    let mut raw = t.broker.raw();
    raw.write(&[0, 0, 0, 13, 0, 18, 0, 99, 0, 0, 0, 42, 255, 255, 0, 1, 1])
        .unwrap();
    let answer = raw.read().unwrap();
    assert_eq!(answer[..4], [0, 0, 0, 42], "the correlation id, and no tags");
    let code = i16::from_be_bytes([answer[4], answer[5]]);
    let keys = i32::from_be_bytes(answer[6..10].try_into().unwrap()) as usize;
    let v0 = answer.len() == 10 + 6 * keys;
    let stays = raw.brokers().is_ok_and(|n| n == 1);
    format!(
        "{code} in a {} body, the connection {}",
        if v0 { "v0" } else { "later" },
        if stays { "stays" } else { "ends" }
    )
}

fn check(rows: &[Row]) {
    let broker = Broker::start(&[("group.initial.rebalance.delay.ms", "0")]);
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let mut table = Table {
        raw: broker.raw(),
        broker,
        id,
    };
    let mut wrong = Vec::new();
    for (situation, expected, ask) in rows {
        let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&mut table)));
        let answered = answered.unwrap_or_else(|_| "no decodable answer".to_owned());
        if answered != *expected {
            wrong.push(format!(
                "{situation}: answered {answered:?}, Apache Kafka answers {expected:?}"
            ));
            table.raw = table.broker.raw();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn answers_are_those_of_apache_kafka() {
    let mut rows = [CONNECTION, PRODUCE, FETCH, GROUPS, TOPICS].concat();
    if !is_kafka() {
        rows.extend_from_slice(NOT_YET);
    }
    check(&rows);
}
