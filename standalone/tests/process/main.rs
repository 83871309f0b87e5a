//! `highwater` as a process: what a user sees of it besides Kafka's protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod client;
mod command_line;
mod documents;
mod highwater;
mod interfaces;
mod open_files;
mod restart;
mod stop;
