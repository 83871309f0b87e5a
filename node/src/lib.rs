//! How each process lives: configuration, telemetry, health, shutdown, the session with the controller.

pub mod clock;
pub mod config;
pub mod http;
pub mod shutdown;
pub mod telemetry;
pub mod transport;
