//! What Kafka has and Highwater does not.

use crate::table::{Row, naming, with_message};
use highwater_e2e::raw::{encode, text};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::*;

/// What only Highwater answers, as long as it has no transactions, no SASL and no compaction of clients' topics.
pub(crate) const NOT_YET: &[Row] = &[
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
