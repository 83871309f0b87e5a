//! Topics, their configs, and ids of producers.

use crate::table::{Row, settled, with_message};
use highwater_e2e::raw::topic_name;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::*;

pub(crate) const TOPICS: &[Row] = &[
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
    ("CreatePartitions: the same count", "37 with a message", |t| {
        let topic = t.topic("same", &[]);
        let wanted = CreatePartitionsTopic::default()
            .with_name(topic_name(&topic))
            .with_count(1);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(10_000);
        let answer = &t.raw.call(3, &request).unwrap().results[0];
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
    }),
    ("DeleteTopics: unknown", "3 with a message", |t| {
        let unknown = DeleteTopicState::default().with_name(Some(topic_name("no-such-topic")));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![unknown])
            .with_timeout_ms(10_000);
        let answer = &t.raw.call(6, &request).unwrap().responses[0];
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
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
