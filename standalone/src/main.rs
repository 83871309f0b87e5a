//! The binary `highwater`: broker, controller and coordinator in one process. Composition only; the three talk gRPC to
//! each other as they do across machines, here through memory.

mod args;
mod standalone;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use highwater_node::config::NodeConfig;
use highwater_node::telemetry::init_logging;
use highwater_proto::config::Profile;

use crate::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tasks that a worker runs before it looks for news on sockets (tokio's default is 61). A turn of a connection with
/// large requests takes a millisecond, and clients that are not heard of wait for all those turns.
const EVENT_INTERVAL: u32 = 8;
/// What threads get to end in when everything has been stopped.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Exit status for a configuration that is refused.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let loaded = Args::parse()
        .sources()
        .and_then(|sources| NodeConfig::load(Profile::Standalone, &sources));
    let config = match loaded {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), 1),
    }
}

fn run(config: NodeConfig) -> anyhow::Result<()> {
    init_logging(&config.logging).context("cannot set up logging")?;
    for ignored in &config.ignored {
        tracing::warn!(key = ignored.key, reason = ignored.reason, "this key has no effect");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .thread_name("highwater")
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(standalone::run(config));
    // What still runs is a blocking thread that nobody waits for: a recovery that was interrupted, a disk that hangs.
    runtime.shutdown_timeout(LAST_WAIT);
    outcome
}

/// Also said on standard error: the log may be filtered, or not set up yet.
fn fail(error: &dyn std::fmt::Display, status: u8) -> ExitCode {
    // Nobody to tell if that fails too.
    let _ = writeln!(std::io::stderr(), "highwater: {error}");
    ExitCode::from(status)
}
