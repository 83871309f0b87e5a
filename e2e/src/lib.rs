//! What the tests and benchmarks of this crate share. It sees processes and the wire only: nothing here links against
//! the broker, the controller or the coordinator.
//!
//! - [`broker`]: the broker under test as a process: Highwater, or Apache Kafka to check the suites themselves
//! - [`cluster`]: a whole cluster of processes, by a [`plan`], on a [`network`] whose
//!   cables can be cut
//! - [`raw`]: a Kafka client of single requests, over the `kafka-protocol` crate; [`routed`]: the same for several brokers
//! - [`client`] and its drivers: real clients behind one interface
//! - [`power_cut`]: what a power cut may leave of a data folder
//! - [`scenario`]: what every real client must be able to do
//! - [`load`]: clients that go on under faults, [`history`]: what they were told and what must therefore hold,
//!   [`monitor`]: what is looked at from outside meanwhile, [`topic_churn`]: topics that come and go
//! - [`generation`]: a member of a group that notices rebalances
//! - [`faults`]: what can go wrong with a cluster, [`etcdctl`]: what is done to its etcd
//! - [`disk`]: a disk that can be full, read only, or lose its power
//! - [`layering`]: the rules of the source tree
//! - [`setup`]: where `tools/setup` has put the clients

pub mod broker;
pub mod client;
pub mod cluster;
pub mod console;
pub mod disk;
pub mod etcdctl;
pub mod faults;
pub mod generation;
pub mod history;
pub mod kafka_peer;
pub mod kcat;
pub mod layering;
pub mod load;
pub mod monitor;
pub mod network;
pub mod plan;
pub mod power_cut;
pub mod process;
pub mod raw;
pub mod routed;
pub mod scenario;
pub mod setup;
pub mod topic_churn;
