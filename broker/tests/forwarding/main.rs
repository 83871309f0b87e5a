//! What brokers and coordinators ask of each other: group requests without a coordinator, FindCoordinator, and the shards'
//! logs over the real gRPC service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answers;
mod api_ranges;
mod brokers;
mod cluster;
#[allow(dead_code)]
#[path = "../admin/controller.rs"]
mod controller;
mod coordinator;
mod find_coordinator;
mod list_groups;
mod shards;
#[path = "../api/stall.rs"]
mod stall;
#[allow(dead_code)]
#[path = "../api/support.rs"]
mod support;
mod witnesses;
