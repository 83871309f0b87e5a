//! The cluster's decisions (pure) and the store, service and leadership around them.

pub mod cluster;
mod leadership;
pub mod process;
pub mod restore;
pub mod service;
pub mod store;
