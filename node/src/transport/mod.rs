//! How our processes reach each other: gRPC over TCP, or over in-memory pipes when they share a process. Servers take
//! a [`Listener`], clients take a [`Dialer`], so that a test or a simulated network can stand in for the real one.

mod calls;
mod connection;
mod dialer;
mod listener;
mod memory;
mod serve;
mod traced;

pub use calls::{CallCounts, ConnectInfo, CountCalls};
pub use connection::{Connection, PeerAddress};
pub use dialer::{Connect, DialOptions, Dialer};
pub use listener::Listener;
pub use memory::MemoryNetwork;
pub use serve::{Server, serve, server};
pub use traced::{Channel, JoinTraces};

/// Largest gRPC message that is sent or accepted, in bytes. tonic bounds messages per client and per service: pass it to
/// `max_decoding_message_size` and `max_encoding_message_size` of each.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

/// Largest body of a client's request or of its reply that one message carries, in bytes; the rest is for what goes with
/// it. A larger message would end the stream, and with it what others wait for.
pub const MAX_BODY_BYTES: usize = MAX_MESSAGE_BYTES - (1 << 20);

#[cfg(test)]
mod tests;
