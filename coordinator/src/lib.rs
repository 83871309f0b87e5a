//! Consumer groups and transactions as shards of replicated logs.

pub mod group;
pub mod shard;
