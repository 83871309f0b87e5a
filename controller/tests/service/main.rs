//! The controller over its gRPC interface, on the embedded store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod elections;
mod hand_over;
mod metrics;
mod registration;
mod restart;
mod sessions;
mod store;
mod support;
mod watch;
