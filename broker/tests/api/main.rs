//! A broker in this process, spoken to over real sockets, following images made by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests and their helpers"
)]

mod api_versions;
mod connection;
mod failed_flush;
mod fetch;
mod list_offsets;
mod metrics;
mod offset_for_leader_epoch;
mod produce;
mod restart;
mod settings;
mod stall;
mod stalled_disk;
mod support;
mod untraced;
