//! The admin APIs of a broker, over real sockets, with a toy controller that decides at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cluster;
mod configs;
#[allow(dead_code)]
mod controller;
mod metadata;
mod producer_ids;
mod reassignments;
mod records;
mod repeats;
#[allow(dead_code)]
#[path = "../api/support.rs"]
mod support;
mod topics;
