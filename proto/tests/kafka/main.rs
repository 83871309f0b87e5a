//! The Kafka codec: against another implementation, against hand-written bytes, against hostile bytes.

mod differential;
mod random;
