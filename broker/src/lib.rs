//! Topics as partitioned logs behind Kafka's protocol.

pub mod api;
pub mod broker;
mod client;
mod connection;
mod creating;
pub mod fetch_session;
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
pub mod records;
pub mod replica;
pub mod reply;
pub mod service;

pub use broker::Broker;
pub use client::Client;
