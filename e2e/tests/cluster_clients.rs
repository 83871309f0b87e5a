//! Every real client: the whole scenario against three brokers, three controllers, two coordinators and etcd.

use highwater_e2e::broker::Broker;
use highwater_e2e::client::{Client, Driver};
use highwater_e2e::console::Console;
use highwater_e2e::kcat::Kcat;
use highwater_e2e::scenario::{BROKER_SETTINGS, conformance};
use std::process::Command;

fn does_all_it_can<C: Client>(client: impl FnOnce(&str) -> C) {
    let broker = Broker::cluster(&BROKER_SETTINGS);
    conformance(&mut client(&broker.bootstrap()), &broker);
}

#[test]
fn console_tools() {
    does_all_it_can(Console::new);
}

#[test]
fn franz_go() {
    does_all_it_can(Driver::franz_go);
}

#[test]
fn java() {
    does_all_it_can(Driver::java);
}

#[test]
fn kafka_python() {
    does_all_it_can(Driver::python);
}

#[test]
fn kcat() {
    does_all_it_can(Kcat::new);
}

#[test]
fn rdkafka() {
    let driver = || Command::new(env!("CARGO_BIN_EXE_rdkafka-driver"));
    does_all_it_can(|bootstrap| Driver::rdkafka(driver, bootstrap));
}
