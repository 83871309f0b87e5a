//! What the rows of the table share.

use bytes::Bytes;
use highwater_e2e::broker::Broker;
use highwater_e2e::client::wait_until;
use highwater_e2e::raw::{Producer, Raw, batch, group_id, text, topic_name};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::*;
use std::time::{Duration, Instant};

/// What the rows share: a broker, a connection, and topics made for them.
pub(crate) struct Table {
    pub(crate) broker: Broker,
    pub(crate) raw: Raw,
    pub(crate) id: String,
}

/// Situation, what a broker answers, and how to bring it about.
pub(crate) type Row = (&'static str, &'static str, fn(&mut Table) -> String);

pub(crate) fn one(value: &str) -> Bytes {
    batch(&[(None, value)], Producer::NONE)
}

pub(crate) fn with_message(code: i16, message: Option<&str>) -> String {
    format!(
        "{code} {} a message",
        if message.is_some_and(|m| m.len() > 5) {
            "with"
        } else {
            "without"
        }
    )
}

pub(crate) fn naming(code: i16, message: Option<&str>, what: &str) -> String {
    let names = message.is_some_and(|m| m.contains(what));
    format!("{code} {} {what}", if names { "naming" } else { "without" })
}

/// The first answer that is none of the passing ones, for at most 20 s.
pub(crate) fn settled(mut ask: impl FnMut() -> i16, passing: &[i16]) -> i16 {
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
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.id)
    }

    pub(crate) fn topic(&mut self, name: &str, configs: &[(&str, &str)]) -> String {
        let topic = self.name(name);
        self.raw.create(&topic, 1, configs).unwrap();
        topic
    }

    pub(crate) fn produce(&mut self, topic: &str, records: Bytes) -> String {
        let (code, base) = self.raw.produce(topic, 0, records).unwrap();
        format!("{code}, base offset {base}")
    }

    pub(crate) fn create(&mut self, topic: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) -> String {
        let (code, message) = self.raw.create_code(topic, partitions, replicas, configs).unwrap();
        with_message(code, message.as_deref())
    }

    pub(crate) fn producer_id(&mut self) -> i64 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into());
        settled(|| self.raw.call(4, &request).unwrap().error_code, &[14, 15, 16]);
        self.raw.call(4, &request).unwrap().producer_id.0
    }

    pub(crate) fn join(&mut self, group: &str, member: &str, session_ms: i32) -> JoinGroupResponse {
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

    pub(crate) fn commit(&mut self, group: &str, member: &str, generation: i32) -> String {
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
    pub(crate) fn coordinator_ready(&mut self) {
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

    pub(crate) fn closes(&mut self, bytes: &[u8]) -> String {
        let mut raw = self.broker.raw();
        raw.write(bytes).unwrap();
        let closed = raw.is_closed_within(Duration::from_secs(5));
        assert_eq!(self.raw.brokers().unwrap(), 1, "others are served");
        if closed { "closed" } else { "open" }.to_owned()
    }
}
