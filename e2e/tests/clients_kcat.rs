//! Debian's kcat and librdkafka: the whole scenario against the broker.

use highwater_e2e::broker::Broker;
use highwater_e2e::kcat::Kcat;
use highwater_e2e::scenario::{BROKER_SETTINGS, conformance};

#[test]
fn kcat_does_all_it_can() {
    let broker = Broker::start(&BROKER_SETTINGS);
    conformance(&mut Kcat::new(&broker.bootstrap()), &broker);
}
