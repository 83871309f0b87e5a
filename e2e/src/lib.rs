//! What the tests and benchmarks of this crate share. It sees processes and the wire only: nothing here links against
//! the broker, the controller or the coordinator.
//!
//! - [`broker`]: the broker under test as a process: Highwater, or Apache Kafka to check the suites themselves
//! - [`raw`]: a Kafka client of single requests, over the `kafka-protocol` crate
//! - [`client`] and its drivers: real clients behind one interface
//! - [`power_cut`]: what a power cut may leave of a data folder
//! - [`scenario`]: what every real client must be able to do
//! - [`disk`]: a disk that can be full, read only, or lose its power
//! - [`layering`]: the rules of the source tree
//! - [`setup`]: where `tools/setup` has put the clients

pub mod broker;
pub mod client;
pub mod disk;
pub mod kcat;
pub mod layering;
pub mod power_cut;
pub mod raw;
pub mod scenario;
pub mod setup;
