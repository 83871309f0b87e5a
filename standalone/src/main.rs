//! The binary `highwater`: broker, controller and coordinator in one process. Composition only; the three talk gRPC to
//! each other as they do across machines, here through memory.

mod args;
mod standalone;

use std::process::ExitCode;

use clap::Parser as _;
use highwater_node::process;
use highwater_proto::config::Profile;

use crate::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::main(
        "highwater",
        Profile::Standalone,
        Args::parse().sources(),
        standalone::run,
    )
}
