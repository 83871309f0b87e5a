//! How each process lives: configuration, telemetry, health, shutdown, the session with the controller.

pub mod clock;
pub mod config;
pub mod data_dir;
pub mod http;
pub mod open_files;
pub mod process;
pub mod session;
pub mod shutdown;
pub mod telemetry;
pub mod transport;
