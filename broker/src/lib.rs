//! Topics as partitioned logs behind Kafka's protocol.

mod alter_partitions;
pub mod api;
pub mod broker;
mod client;
mod connection;
mod creating;
pub mod disk_limit;
pub mod fetch_session;
pub mod fetcher;
mod forward;
mod frame;
mod housekeeping;
mod internal_topics;
mod latency;
mod listener;
pub mod log;
pub mod metrics;
mod output;
pub mod partition;
pub mod partitions;
pub mod process;
mod producer_ids;
mod questions;
pub mod records;
pub mod replica;
pub mod reply;
pub mod service;
pub mod throttle;
mod worker_stalls;

pub use broker::Broker;
pub use client::Client;
