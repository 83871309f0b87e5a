//! Who is at the other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What handlers may want to know of a connection.
#[derive(Debug)]
pub struct Client {
    /// Unique within the process.
    pub connection_id: u64,
    /// Name of the listener it came through: its answers name addresses of that listener.
    pub listener: Arc<str>,
    /// Its address.
    pub host: IpAddr,
    /// What it fetched last had to be read from disk: the next fetch may wait for the disk even where it only looks for
    /// the position.
    pub(crate) reads_cold_data: AtomicBool,
}
