//! Topics as partitioned logs behind Kafka's protocol.

pub mod api;
pub mod broker;
mod connection;
pub mod fetch_session;
mod frame;
mod housekeeping;
mod listener;
pub mod log;
pub mod metrics;
mod output;
pub mod partition;
pub mod partitions;
pub mod records;
pub mod replica;
pub mod reply;

pub use broker::Broker;
pub use connection::Client;
