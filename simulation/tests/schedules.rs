//! Thousands of schedules, every one of which keeps every invariant.

use highwater_simulation::history::Summary;
use highwater_simulation::run::play;

/// Seeds that `cargo test` plays; `make simulate` plays more, and others.
const SEEDS: u64 = 3_000;

#[test]
fn every_invariant_holds_whatever_goes_wrong() {
    let mut summary = Summary::default();
    for seed in 1..=SEEDS {
        match play(seed, None) {
            Ok(one) => summary.add(one),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{SEEDS} schedules: {summary:?}");
    let busy = summary.acknowledged > 10_000
        && summary.elections > 5_000
        && summary.read > 10_000
        && summary.offsets > 15_000
        && summary.reassigned > 1_000;
    assert!(busy, "the schedules do too little: {summary:?}");
}
