//! Plays seeds: `SIMULATION_SEED=n` one of them with its whole trace; else from `FIRST` (1) on, `SEEDS` of them or for
//! `MINUTES`. With `INVARIANT` that one alone counts.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use highwater_simulation::history::Summary;
use highwater_simulation::invariants::CATALOGUE;
use highwater_simulation::run::{play, play_with};
use highwater_simulation::trace::Trace;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn main() -> ExitCode {
    let wanted = std::env::var("INVARIANT").ok();
    let only = CATALOGUE.into_iter().find(|name| wanted.as_deref() == Some(*name));
    if wanted.is_some() && only.is_none() {
        println!("no such invariant; there are: {}", CATALOGUE.join(", "));
        return ExitCode::FAILURE;
    }
    if let Some(seed) = number("SIMULATION_SEED") {
        let (result, trace) = play_with(seed, only, Trace::kept());
        trace.iter().for_each(|line| println!("{line}"));
        println!("{result:?}");
        return if result.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let first = number("FIRST").unwrap_or(1);
    let limit = number("MINUTES").map(|minutes| Duration::from_secs(minutes * 60));
    let seeds = number("SEEDS").unwrap_or(if limit.is_some() { u64::MAX - first } else { 10_000 });
    let started = Instant::now();
    let mut summary = Summary::default();
    let mut played = 0;
    for seed in first..first + seeds {
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            break;
        }
        match play(seed, only) {
            Ok(one) => summary.add(one),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
        played += 1;
    }
    println!(
        "{played} schedules in {:.1} s: {summary:?}",
        started.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
