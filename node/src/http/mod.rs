//! The HTTP port of every process: `/livez`, `/readyz` and `/metrics`.

mod health;
mod server;

pub use health::{Health, HealthCheck};
pub use server::serve_http;
