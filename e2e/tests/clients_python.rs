//! kafka-python: the whole scenario against the broker.

use highwater_e2e::broker::Broker;
use highwater_e2e::client::Driver;
use highwater_e2e::scenario::{BROKER_SETTINGS, conformance};

#[test]
fn kafka_python_does_all_it_can() {
    let broker = Broker::start(&BROKER_SETTINGS);
    conformance(&mut Driver::python(&broker.bootstrap()), &broker);
}
