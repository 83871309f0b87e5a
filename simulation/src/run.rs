//! Playing seeds.

use std::fmt;

use crate::history::{Summary, Violation};
use crate::plan::Plan;
use crate::trace::Trace;
use crate::world::World;

/// Lines of a trace that are worth reading.
const LINES: usize = 60;

/// A seed under which an invariant breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
    /// What happened last.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Violation { invariant, seen } = &self.violation;
        writeln!(f, "broken invariant: {invariant}")?;
        writeln!(f, "{seen}")?;
        write!(f, "SIMULATION_SEED={} plays it again", self.seed)
    }
}

/// Plays one seed. With `only`, that invariant alone counts.
///
/// # Errors
/// The broken invariant, with the trace of a second play.
pub fn play(seed: u64, only: Option<&'static str>) -> Result<Summary, Box<Failure>> {
    let (result, _) = play_with(seed, only, Trace::default());
    result.map_err(|violation| {
        let (_, mut trace) = play_with(seed, only, Trace::kept());
        trace.drain(..trace.len().saturating_sub(LINES));
        Box::new(Failure { seed, violation, trace })
    })
}

/// Plays one seed and answers all of its trace.
pub fn play_with(seed: u64, only: Option<&'static str>, trace: Trace) -> (Result<Summary, Violation>, Vec<String>) {
    let plan = Plan::new(seed);
    let mut world = World::new(plan.clone(), trace);
    world.history.only = only;
    let mut result = Ok(());
    for step in 1..=plan.steps {
        result = world.step(step);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = world.heal();
    }
    let summary = world.summary();
    (result.map(|()| summary), world.into_trace())
}
