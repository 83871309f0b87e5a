//! Apache Kafka's Java clients: the whole scenario against the broker.

use highwater_e2e::broker::Broker;
use highwater_e2e::client::Driver;
use highwater_e2e::scenario::{BROKER_SETTINGS, conformance};

#[test]
fn java_clients_do_all_they_can() {
    let broker = Broker::start(&BROKER_SETTINGS);
    conformance(&mut Driver::java(&broker.bootstrap()), &broker);
}
