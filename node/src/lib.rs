//! How each process lives: configuration, telemetry, health, shutdown, the session with the controller.

pub mod clock;
pub mod config;
pub mod shutdown;
pub mod transport;
