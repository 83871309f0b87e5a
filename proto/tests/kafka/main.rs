//! The Kafka codec: against another implementation, against hand-written bytes, against hostile bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod allocations;
mod differential;
mod hostile;
mod random;
mod vectors;
