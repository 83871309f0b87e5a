//! Consumer groups and transactions as shards of replicated logs.
//!
//! - `group`: the classic group protocol and committed offsets (pure).
//! - `shard`: the groups of one partition, how its log is taken over, written and answered from (pure).
//! - `api`: Kafka's requests and replies, a file per API.
//! - `runtime`: a task per shard, calls of brokers, the image.
//! - `service`: the gRPC service that brokers forward to.
//! - `lag`: how far behind consumers are.

pub mod api;
pub mod config;
mod coordinator;
pub mod group;
mod lag;
mod metrics;
pub mod process;
mod runtime;
pub mod service;
pub mod shard;

pub use coordinator::{Coordinator, CoordinatorContext};
