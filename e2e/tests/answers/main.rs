//! What a Kafka broker answers where clients depend on it, by raw requests. The table was measured on Apache Kafka;
//! `HIGHWATER_E2E_PEER=kafka` checks it there again.

mod admin;
mod groups;
mod members;
mod not_yet;
mod reassignments;
mod table;
mod topics;

use highwater_e2e::broker::{Broker, is_kafka};
use highwater_e2e::raw::{Producer, batch, encode_batch, fetch_request, produce_request};
use kafka_protocol::records::RecordBatchDecoder;

use crate::table::{Row, Table, one};

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
    ("a null key on a compacted topic", "87, base offset -1", |t| {
        // The one compacted topic that both systems have; only admin clients get so far as to have their records looked at.
        t.coordinator_ready();
        let mut raw = t.broker.raw().named("__admin_client");
        let (code, base) = raw.produce("__consumer_offsets", 0, one("v")).unwrap();
        format!("{code}, base offset {base}")
    }),
    ("a client's record for an internal topic", "17, base offset -1", |t| {
        t.coordinator_ready();
        t.produce("__consumer_offsets", one("v"))
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
    let mut rows = [
        CONNECTION,
        PRODUCE,
        FETCH,
        groups::GROUPS,
        members::MEMBERS,
        topics::TOPICS,
        admin::ADMIN,
        reassignments::REASSIGNMENTS,
    ]
    .concat();
    if !is_kafka() {
        rows.extend_from_slice(not_yet::NOT_YET);
    }
    check(&rows);
}
