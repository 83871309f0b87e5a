//! What administrators ask for in vain.

use crate::table::{Row, Table, one, with_message};
use highwater_e2e::raw::{text, topic_name};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const APPEND: i8 = 2;

pub(crate) const ADMIN: &[Row] = &[
    ("CreateTopics: twice in one request", "42 with a message", |t| {
        let name = t.name("twice");
        t.create_as(vec![wanted(&name), wanted(&name)])
    }),
    ("CreateTopics: placed by hand and counted", "42 with a message", |t| {
        let name = t.name("both");
        t.create_as(vec![
            wanted(&name).with_num_partitions(2).with_assignments(vec![on(0, 1)]),
        ])
    }),
    ("CreateTopics: placed on an unknown broker", "39 with a message", |t| {
        let name = t.name("where");
        t.create_as(vec![placed(&name, vec![on(0, 4711)])])
    }),
    ("CreateTopics: placed with a gap", "39 with a message", |t| {
        let name = t.name("placed-gap");
        t.create_as(vec![placed(&name, vec![on(1, 1)])])
    }),
    ("CreateTopics: a name of 250 characters", "17 with a message", |t| {
        t.create_as(vec![wanted(&"n".repeat(250))])
    }),
    ("CreateTopics: the name ..", "17 with a message", |t| {
        t.create_as(vec![wanted("..")])
    }),
    (
        "CreateTopics: a name that differs by . and _",
        "17 with a message",
        |t| {
            let name = t.topic("dot.name", &[]);
            t.create_as(vec![wanted(&name.replace('.', "_"))])
        },
    ),
    ("CreateTopics: only validated", "0 without a message, then 3", |t| {
        let name = t.name("validated");
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted(&name)])
            .with_timeout_ms(10_000)
            .with_validate_only(true);
        let answer = &t.raw.call(5, &request).unwrap().topics[0];
        let answer = with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()));
        let then = t.raw.metadata(&name).unwrap().topics[0].error_code;
        format!("{answer}, then {then}")
    }),
    ("DeleteTopics: an unknown id", "100 with a message", |t| {
        let unknown = DeleteTopicState::default().with_topic_id(uuid::Uuid::from_u128(7));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![unknown])
            .with_timeout_ms(10_000);
        let answer = &t.raw.call(6, &request).unwrap().responses[0];
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
    }),
    ("Metadata: an unknown id", "100", |t| {
        let unknown = MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(uuid::Uuid::from_u128(7));
        let request = MetadataRequest::default().with_topics(Some(vec![unknown]));
        t.raw.call(12, &request).unwrap().topics[0].error_code.to_string()
    }),
    ("Metadata: creating a bad name by asking", "17", |t| {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name("a b")));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(true);
        t.raw.call(12, &request).unwrap().topics[0].error_code.to_string()
    }),
    ("DeleteRecords: beyond the end", "1", |t| {
        let topic = t.topic("delete-records", &[]);
        t.produce(&topic, one("v"));
        t.delete_records(&topic, 99)
    }),
    ("DeleteRecords: an unknown topic", "3", |t| {
        t.delete_records("no-such-topic", 0)
    }),
    ("DescribeConfigs: an unknown topic", "3", |t| {
        // Kafka says no more; a message is no harm.
        t.describe_configs(TOPIC, "no-such-topic")[..1].to_owned()
    }),
    ("DescribeConfigs: a bad topic name", "17 with a message", |t| {
        t.describe_configs(TOPIC, "a b")
    }),
    (
        "DescribeConfigs: a broker that is no number",
        "42 with a message",
        |t| t.describe_configs(BROKER, "first"),
    ),
    ("DescribeConfigs: an unknown kind", "42 with a message", |t| {
        t.describe_configs(77, "x")
    }),
    ("IncrementalAlterConfigs: an unknown topic", "3 with a message", |t| {
        t.alter("no-such-topic", &[("retention.ms", "1", SET)])
    }),
    ("IncrementalAlterConfigs: a bad value", "40 with a message", |t| {
        let topic = t.topic("alter-value", &[]);
        t.alter(&topic, &[("retention.ms", "soon", SET)])
    }),
    ("IncrementalAlterConfigs: an unknown config", "40 with a message", |t| {
        let topic = t.topic("alter-config", &[]);
        t.alter(&topic, &[("no.such", "1", SET)])
    }),
    (
        "IncrementalAlterConfigs: appending to what is no list",
        "40 with a message",
        |t| {
            let topic = t.topic("alter-append", &[]);
            t.alter(&topic, &[("retention.ms", "1", APPEND)])
        },
    ),
    (
        "IncrementalAlterConfigs: the same config twice",
        "42 with a message",
        |t| {
            let topic = t.topic("alter-twice", &[]);
            t.alter(&topic, &[("retention.ms", "1", SET), ("retention.ms", "2", SET)])
        },
    ),
    ("ListOffsets: an unknown topic", "3, offset -1", |t| {
        t.list_offsets("no-such-topic", -1, -1)
    }),
    ("ListOffsets: a leader epoch of the future", "75, offset -1", |t| {
        let topic = t.topic("list-future", &[]);
        t.list_offsets(&topic, 99, -1)
    }),
    ("ListOffsets: a time after the last record", "0, offset -1", |t| {
        let topic = t.topic("list-time", &[]);
        t.produce(&topic, one("v"));
        t.list_offsets(&topic, -1, i64::MAX)
    }),
    ("OffsetForLeaderEpoch: an unknown topic", "3", |t| {
        t.leader_epoch("no-such-topic", -1, 0)
    }),
    ("OffsetForLeaderEpoch: a leader that is not yet", "75", |t| {
        let topic = t.topic("epoch-future", &[]);
        t.leader_epoch(&topic, 99, 0)
    }),
    ("OffsetForLeaderEpoch: an epoch that is not yet", "0", |t| {
        let topic = t.topic("epoch-unknown", &[]);
        t.leader_epoch(&topic, -1, 99)
    }),
    ("DescribeTopicPartitions: an unknown topic", "3", |t| {
        let asked = TopicRequest::default().with_name(topic_name("no-such-topic"));
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![asked])
            .with_response_partition_limit(100)
            .with_cursor(None);
        t.raw.call(0, &request).unwrap().topics[0].error_code.to_string()
    }),
];

fn wanted(name: &str) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
}

fn placed(name: &str, assignments: Vec<CreatableReplicaAssignment>) -> CreatableTopic {
    wanted(name)
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments)
}

fn on(partition: i32, broker: i32) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment::default()
        .with_partition_index(partition)
        .with_broker_ids(vec![broker.into()])
}

impl Table {
    fn create_as(&mut self, topics: Vec<CreatableTopic>) -> String {
        let request = CreateTopicsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(10_000);
        let answer = &self.raw.call(5, &request).unwrap().topics[0];
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
    }

    fn delete_records(&mut self, topic: &str, offset: i64) -> String {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let of = DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![of])
            .with_timeout_ms(10_000);
        self.raw.call(2, &request).unwrap().topics[0].partitions[0]
            .error_code
            .to_string()
    }

    fn describe_configs(&mut self, kind: i8, name: &str) -> String {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = &self.raw.call(4, &request).unwrap().results[0];
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
    }

    fn alter(&mut self, topic: &str, configs: &[(&str, &str, i8)]) -> String {
        let configs = configs.iter().map(|(name, value, operation)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
                .with_config_operation(*operation)
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = &self.raw.call(1, &request).unwrap().responses[0];
        with_message(answer.error_code, answer.error_message.as_ref().map(|m| m.as_str()))
    }

    fn list_offsets(&mut self, topic: &str, leader_epoch: i32, time: i64) -> String {
        let asked = ListOffsetsPartition::default()
            .with_current_leader_epoch(leader_epoch)
            .with_timestamp(time);
        let of = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![of]);
        let answer = &self.raw.call(6, &request).unwrap().topics[0].partitions[0];
        format!("{}, offset {}", answer.error_code, answer.offset)
    }

    fn leader_epoch(&mut self, topic: &str, current: i32, epoch: i32) -> String {
        let asked = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let of = OffsetForLeaderTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(vec![asked]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![of]);
        self.raw.call(4, &request).unwrap().topics[0].partitions[0]
            .error_code
            .to_string()
    }
}
