//! Apache Kafka's console producer and consumer: the whole scenario against the broker.

use highwater_e2e::broker::Broker;
use highwater_e2e::console::Console;
use highwater_e2e::scenario::{BROKER_SETTINGS, conformance};

#[test]
fn console_tools_do_all_they_can() {
    let broker = Broker::start(&BROKER_SETTINGS);
    conformance(&mut Console::new(&broker.bootstrap()), &broker);
}
