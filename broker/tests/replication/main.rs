//! Three brokers in one process that copy from each other over loopback, with a toy controller that decides at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cluster;
#[allow(dead_code)]
#[path = "../admin/controller.rs"]
mod controller;
mod disk_limit;
mod elections;
mod followers;
mod hand_over;
mod many;
mod offline;
mod readers;
mod repair;
#[allow(dead_code)]
#[path = "../api/support.rs"]
mod support;
mod throttle;
