//! The rdkafka crate: the whole scenario against the broker.

use highwater_e2e::broker::Broker;
use highwater_e2e::client::Driver;
use highwater_e2e::scenario::{BROKER_SETTINGS, conformance};
use std::process::Command;

#[test]
fn rdkafka_does_all_it_can() {
    let broker = Broker::start(&BROKER_SETTINGS);
    conformance(
        &mut Driver::rdkafka(
            || Command::new(env!("CARGO_BIN_EXE_rdkafka-driver")),
            &broker.bootstrap(),
        ),
        &broker,
    );
}
