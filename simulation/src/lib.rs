//! A deterministic simulator of Highwater: replicas of several partitions on a few brokers and the controllers that
//! decide about them, on a network, disks and a metadata store that fail as real ones do. The decisions are
//! production's own: this crate compiles the crates that ship, and has the shells around them only.
//!
//! A seed is a whole history: what the cluster looks like ([`plan`]), what happens one thing after the other
//! ([`world`]), and what goes wrong ([`faults`]). After every step the invariants ([`invariants`]) are checked against
//! what the world has seen ([`history`]); a seed that breaks one is played again with its trace.

mod admin;
pub mod broker;
mod calm;
pub mod controller;
pub mod disk;
mod faults;
pub mod history;
pub mod invariants;
mod isolation;
pub mod message;
pub mod network;
pub mod plan;
pub mod random;
pub mod run;
pub mod shard;
pub mod trace;
pub mod world;
